"""Files of earlier builds in tests/support/data still serve: a run of this format version, policies of all versions."""

import json
import shutil
from pathlib import Path

import numpy as np
from logs import learning
from make_data import DATA, OBSERVATIONS, OVERRIDES
from resumable import arrays, train

from sacbrax import load_policy


def test_a_stored_run_goes_on(tmp_path: Path) -> None:
    shutil.copytree(DATA / "run", tmp_path / "run")
    before, rows = arrays(tmp_path / "run"), learning(tmp_path / "run")
    assert before["state/iteration"] == 30
    train(tmp_path / "run", *OVERRIDES, "train.total_env_steps=200")
    assert learning(tmp_path / "run")[: len(rows)] == rows
    assert arrays(tmp_path / "run")["state/iteration"] == 50


def test_a_stored_policy_acts_as_it_did() -> None:
    expected = json.loads((DATA / "actions.json").read_text())
    assert set(expected) == {"run", *(file.name for file in DATA.glob("policy_*.npz"))}
    for name, actions in expected.items():
        np.testing.assert_allclose(load_policy(DATA / name)(OBSERVATIONS), actions, rtol=1e-5, atol=1e-6)


def test_the_files_are_small() -> None:
    assert sum(file.stat().st_size for file in DATA.rglob("*") if file.is_file()) < 100_000
