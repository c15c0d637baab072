"""Every shipped configuration builds and runs one epoch, shrunk so that it takes seconds; slow: the swimmer swims."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import shipped_configs

import sacbrax
from sacbrax import config as config_lib
from sacbrax.runner import run

CONFIGS = Path(__file__).parent.parent / "configs"
SHRUNK = (
    "env.num_envs=4",
    "env.episode_length=6",
    "replay.capacity=512",
    "network.hidden_sizes=[8]",
    "train.batch_size=8",
    "train.updates_per_step=1",
    "train.exploration_env_steps=16",
    "train.total_env_steps=32",
    "eval.every_env_steps=16",
    "eval.episodes=2",
    "run.compilation_cache=false",
)


@pytest.mark.parametrize("path", shipped_configs(), ids=lambda path: path.stem)
def test_one_epoch(path: Path, tmp_path: Path) -> None:
    result = run(config_lib.load(path, [*SHRUNK, f"run.dir={tmp_path / 'run'}"]), quiet=True)
    assert [row["env_steps"] for row in result.metrics] == [16, 32]
    numbers = [value for value in result.metrics[-1].values() if value is not None]
    assert np.isfinite(numbers).all()
    assert result.metrics[-1]["train/faults"] == 0
    policy = sacbrax.load_policy(result.run_dir)
    action = policy(np.zeros(policy.observation_size))
    assert action.shape == (policy.action_size,)
    assert np.abs(action).max() <= 1


@pytest.mark.slow
def test_the_swimmer_swims(tmp_path: Path) -> None:
    """The main configuration, a quarter of its steps: random is near 0, a swimmer that clearly swims above 30."""
    overrides = ["train.total_env_steps=793_600", f"run.dir={tmp_path / 'run'}", "run.compilation_cache=false"]
    result = run(config_lib.load(CONFIGS / "swimmer.yaml", overrides), quiet=True)
    assert abs(result.metrics[0]["eval/return_mean"]) < 30
    assert result.metrics[-1]["eval/return_mean"] > 60
    summary = json.loads((result.run_dir / "summary.json").read_text())
    assert summary["best_return"] >= result.metrics[-1]["eval/return_mean"]
