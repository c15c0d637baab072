"""Whole runs with every kind of critics: several seeds, shards, snapshots, diagnostics, a start from one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_programs import run_sharing
from tiny_config import make_tiny

from sacbrax.config import Config, ConfigError
from sacbrax.policy_file.files import load_policy
from sacbrax.run.loop import run
from sacbrax.view import q_surface

Tiny = Callable[..., Config]
CATEGORICAL = ("critic.kind=categorical", "critic.v_min=-10", "critic.v_max=30", "critic.num_atoms=9")
RUNS = {
    "categorical": (*CATEGORICAL, "policy.kind=latent", "algorithm.num_critics=3", "algorithm.target_critics=2"),
    "symlog": (*CATEGORICAL, "critic.atom_spacing=symlog", "algorithm.name=sac_v1", "algorithm.target_q=mean"),
    "mean": (*CATEGORICAL, "policy.kind=gmm", "algorithm.policy_q=mean"),
}


def but(quick: str) -> list[Any]:
    """All kinds, all but one slow."""
    return [name if name == quick else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]


@pytest.mark.parametrize("name", but("symlog"))
def test_seeds_side_by_side_with_snapshots(name: str, tmp_path: Path) -> None:
    options = ("train.num_seeds=2", "checkpoint.snapshots=true", f"run.dir={tmp_path}")
    result = run(make_tiny(*RUNS[name], *options), quiet=True)
    row = result.metrics[-1]
    for key in ("train/critic_loss", "train/off_support", "diag/qf1_mean", "diag/mean_sq_bellman_error1"):
        assert np.isfinite(row[key]), key
    assert 0.0 <= row["train/off_support"] <= 1.0
    policy = load_policy(tmp_path)
    values = np.linspace(-1.0, 1.0, 5, dtype=np.float32)
    surface = q_surface.surface(policy, np.zeros(2, np.float32), np.zeros(2, np.float32), [0, 1], values)
    assert surface.shape == (5, 5)
    assert -10.0 < surface.min() < surface.max() < 30.0
    assert sorted((tmp_path / "checkpoints").glob("**/snapshot_*.npz"))


@pytest.mark.parametrize("name", but("categorical"))
def test_shards(name: str, tmp_path: Path) -> None:
    """A support beyond reach shows in every shard's share alike."""
    far = ("critic.v_min=100", "critic.v_max=101", "parallel.shards=2", "eval.episodes=2", f"run.dir={tmp_path}")
    row = run(make_tiny(*RUNS[name], *far), quiet=True).metrics[-1]
    assert row["train/off_support"] > 0.9
    assert row["train/skipped_updates"] == 0


def test_critics_of_another_kind_are_no_start(tmp_path: Path) -> None:
    run_sharing(make_tiny(*RUNS["mean"], f"run.dir={tmp_path / 'first'}"))
    start = (f"init.from={tmp_path / 'first'}", "init.parts=[critics]", f"run.dir={tmp_path / 'second'}")
    result = run_sharing(make_tiny(*RUNS["mean"], *start))
    assert np.isfinite(result.metrics[-1]["train/critic_loss"])
    start = (*start[:2], f"run.dir={tmp_path / 'third'}")
    with pytest.raises(ConfigError, match=r"critic.kind: 'scalar', but init.from .* has 'categorical'"):
        run(make_tiny("policy.kind=gmm", *start), quiet=True)
