"""The examples of docs/environments.md run as they stand."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import make_tiny

from sacbrax.runner import run
from sacbrax.trainer import Trainer

PAGE = Path(__file__).parent.parent / "docs" / "environments.md"


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    task, fields = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "point.py").write_text(task)
    (tmp_path / "my_module.py").write_text(fields)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_task_of_ones_own(examples: Path) -> None:
    assert len((examples / "point.py").read_text().splitlines()) <= 40
    overrides = ["env.name=point:Point", "env.kwargs={push: 0.2}", f"run.dir={examples / 'run'}"]
    result = run(make_tiny(*overrides), quiet=True)
    assert np.isfinite(result.metrics[-1]["eval/return_mean"])
    assert result.metrics[-1]["train/faults"] == 0


def test_fields_of_ones_own(examples: Path) -> None:
    trainer = Trainer(make_tiny("env.name=swimmer", "env.randomize=my_module:draw"))
    state: Any = jax.eval_shape(trainer.init, jax.random.key(0))
    assert state.env.state.pipeline_state.fields["actuator_gear"].shape == (4, 2, 6)
