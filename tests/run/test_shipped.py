"""Every shipped configuration builds and runs one epoch, shrunk so that it takes seconds; slow: the swimmer swims."""

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sacbrax
from sacbrax import config as config_lib
from sacbrax.config.sections import PLAYGROUND
from sacbrax.envs import ENVS
from sacbrax.run.loop import run

CONFIGS = Path(__file__).parents[2] / "configs"
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


PATHS = list(config_lib.trainable_configs().values())


def on_mjx(path: Path) -> bool:
    """Whether its physics is one of those that take minutes to compile."""
    env = config_lib.load(path).env
    return (env.engine or getattr(_class(env.name), "default_engine", "mjx")) == "mjx"


def _class(task: str) -> Any:
    """A task's own."""
    module, _, name = ENVS.get(task, "sacbrax.envs.tasks.playground:PlaygroundTask").partition(":")
    return getattr(importlib.import_module(module), name)


def repeated(path: Path) -> bool:
    """Whether the program is another configuration's with other sizes, or has a policy that test_policies has."""
    # Of the engine of Gymnasium's pendulums and reacher, which compile in half their time or are the same models.
    walkers = ("halfcheetah", "hopper", "walker2d", "halfcheetah_v5", "hopper_v5", "walker2d_v5", "ant_v5")
    braxs = ("inverted_pendulum", "inverted_double_pendulum", "reacher")
    planar = ("inverted_double_pendulum_v5", "reacher_v5")
    swimmers = ("swimmer_best", "swimmer_gpu", "swimmer_gpu_seeds")
    return path.stem in (*swimmers, *walkers, *braxs, *planar) or path.parent.name in ("paper", "playground")


@pytest.mark.parametrize("path", [path for path in PATHS if on_mjx(path)], ids=lambda path: path.stem)
def test_the_task_of_a_configuration_is_there(path: Path) -> None:
    """Names, options and combinations; the same runs one epoch below, slowly."""
    config = config_lib.load(path)
    parameters = inspect.signature(_class(config.env.name)).parameters
    assert set(config.env.kwargs) <= set(parameters)
    assert config.train.total_env_steps > config.eval.every_env_steps


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow) if on_mjx(path) or repeated(path) else path for path in PATHS],
    ids=lambda path: path.stem,
)
def test_one_epoch(path: Path, tmp_path: Path) -> None:
    if config_lib.load(path).env.name.startswith(PLAYGROUND):
        pytest.importorskip("mujoco_playground", reason="needs pip install 'sacbrax[playground]'")
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
