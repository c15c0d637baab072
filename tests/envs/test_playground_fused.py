"""DM Control's tasks on the fused engine beside C MuJoCo, in float64: states, observations and rewards; slow."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujocos_own import solved

from sacbrax.engines.upstream import as_brax_needs, quiet
from sacbrax.envs import make_env
from sacbrax.envs.tasks.playground_fused import TASKS
from sacbrax.xla.compiler_options import quick

STEPS = 100
TOUCH = ("WalkerRun", "WalkerStand", "WalkerWalk")  # the floor


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("task", TASKS)
def test_a_task_moves_as_mujoco_does(task: str) -> None:
    """What a task reads of MuJoCo's data it is given of C MuJoCo's, after steps of the same actions."""
    playground()
    with jax.enable_x64(True):
        env: Any = make_env(f"playground:{task}", "fused")
        own, model = env.unwrapped.env, solved(env.unwrapped.model)
        assert env.backend == "fused"
        reset, step = (jax.jit(f, compiler_options=quick()) for f in (env.reset, env.step))
        state, data, rng = reset(jax.random.key(0)), mujoco.MjData(model), np.random.default_rng(0)
        start = state.pipeline_state.arrays
        data.qpos[:], data.qvel[:] = start["qpos"], start["qvel"]
        if model.nmocap:
            data.mocap_pos[:], data.mocap_quat[:] = start["mocap_pos"], start["mocap_quat"]
        touched = 0
        for _ in range(STEPS):
            data.ctrl[:] = rng.uniform(-1.2, 1.2, model.nu)
            state = step(state, jnp.asarray(data.ctrl))
            mujoco.mj_step(model, data, own.n_substeps)
            touched += data.ncon > 0
            for name in ("qpos", "qvel"):
                expected = getattr(data, name)
                np.testing.assert_allclose(state.pipeline_state.arrays[name], expected, rtol=1e-8, atol=1e-8)
            with as_brax_needs():
                observation, reward = own._get_obs(_seen(data), state.info), _reward(own, data, state)
            np.testing.assert_allclose(state.obs, observation, rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose(state.reward, reward, rtol=1e-8, atol=1e-8)
        assert touched > STEPS // 10 if task in TOUCH else not touched


@pytest.mark.parametrize("task", ["AcrobotSwingup", "CartpoleSwingup", "PendulumSwingup", "ReacherEasy", "WalkerWalk"])
def test_many_environments_in_single_precision(task: str) -> None:
    """As a run steps them: in blocks, one compiled function each."""
    playground()
    env: Any = make_env(f"playground:{task}", "fused")
    many, model = 64, solved(env.unwrapped.model)
    reset, step = (jax.jit(jax.vmap(f), compiler_options=quick()) for f in (env.reset, env.step))
    start = reset(jax.random.split(jax.random.key(0), many))
    action = np.random.default_rng(0).uniform(-1, 1, (many, model.nu)).astype(np.float32)
    after, data = step(start, jnp.asarray(action)), mujoco.MjData(model)
    for i in range(many):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = (start.pipeline_state.arrays[name][i] for name in ("qpos", "qvel"))
        data.ctrl[:] = action[i]
        mujoco.mj_step(model, data, env.unwrapped.env.n_substeps)
        np.testing.assert_allclose(after.pipeline_state.arrays["qpos"][i], data.qpos, atol=1e-4)
        np.testing.assert_allclose(after.pipeline_state.arrays["qvel"][i], data.qvel, rtol=1e-3, atol=5e-3)


def playground() -> None:
    with quiet():
        pytest.importorskip("mujoco_playground", reason="needs pip install 'sacbrax[playground]'")


def _seen(data: mujoco.MjData) -> Any:
    """Of C MuJoCo's data what these tasks read of MJX's."""
    flat = {name: jnp.asarray(getattr(data, name)) for name in ("qpos", "qvel", "xpos", "geom_xpos", "site_xpos")}
    matrices = jnp.asarray(data.xmat).reshape(-1, 3, 3)
    return SimpleNamespace(xmat=matrices, sensordata=jnp.asarray(data.sensordata), **flat)


def _reward(own: Any, data: mujoco.MjData, state: Any) -> Any:
    return own._get_reward(_seen(data), jnp.asarray(data.ctrl), state.info, dict(state.metrics))
