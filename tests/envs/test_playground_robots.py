"""Playground's real tasks train end to end, on placeholder files where Menagerie's are needed; slow."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import placeholder_robots
import pytest
from tiny_config import make_tiny

import sacbrax
from sacbrax.engines.upstream import quiet
from sacbrax.envs import make_env, randomized
from sacbrax.envs.randomize import check
from sacbrax.run.loop import run

pytestmark = pytest.mark.slow
TASKS = (
    *("Go1JoystickFlatTerrain", "G1JoystickFlatTerrain", "T1JoystickFlatTerrain", "PandaPickCube"),
    *("CheetahRun", "HopperHop", "HumanoidWalk", "SwimmerSwimmer6"),
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with quiet():
        playground = pytest.importorskip("mujoco_playground", reason="needs pip install 'sacbrax[playground]'")
    placeholder_robots.write(tmp_path / "menagerie", Path(playground.__file__).parent / "_src")
    monkeypatch.setenv("SACBRAX_MENAGERIE", f"{tmp_path}/menagerie")


@pytest.mark.parametrize("task", TASKS)
def test_a_task_trains(task: str, files: None, tmp_path: Path) -> None:
    """40 updates in 400 environment steps, with resets out of a pool and by time limit on the way."""
    sizes = (
        *("env.num_envs=8", "env.episode_length=12", "env.reset_pool=8", "replay.capacity=1024"),
        *("train.exploration_env_steps=80", "train.total_env_steps=400", "train.updates_per_step=1"),
        *("eval.every_env_steps=160", "eval.episodes=2"),
    )
    result = run(make_tiny(f"env.name=playground:{task}", f"run.dir={tmp_path}/run", *sizes), quiet=True)
    last = result.metrics[-1]
    assert (last["env_steps"], last["gradient_steps"], last["train/faults"]) == (400, 40, 0)
    assert last["train/skipped_updates"] == 0
    assert all(math.isfinite(value) for value in last.values() if value is not None)
    assert 1 <= last["eval/length_mean"] <= 12
    policy = sacbrax.load_policy(result.run_dir)
    action = policy(np.zeros(policy.observation_size))
    assert action.shape == (policy.action_size,)
    assert 0 < np.abs(action).max() <= 1


@pytest.mark.parametrize(("robot", "numbers", "seen"), [("Go1", 123, 48), ("G1", 216, 103), ("T1", 180, 85)])
def test_a_robots_state_is_there_once_and_its_own_randomizer_is_taken(
    robot: str, numbers: int, seen: int, files: None
) -> None:
    """A row of the replay has two observations, the action, and three numbers more: 261, 464 and 386. A step is traced
    with the models that Playground's randomizer draws."""
    env: Any = make_env(f"playground:{robot}JoystickFlatTerrain")
    assert (env.observation_size, env.actor_observation_size) == (numbers, seen)
    varied: Any = randomized(env, f"mujoco_playground._src.locomotion.{robot.lower()}.randomize:domain_randomize")
    check(varied, None)
    fields = jax.eval_shape(varied.reset, jax.random.key(0)).pipeline_state.fields
    friction = "pair_friction" if robot == "G1" else "geom_friction"
    assert {friction, "body_mass", "qpos0", "dof_frictionloss", "dof_armature"} <= set(fields)
