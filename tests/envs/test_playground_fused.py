"""DM Control's tasks on the fused engine beside C MuJoCo, in float64: states, observations and rewards; slow."""

import functools
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujocos_own import mujocos, solved

from sacbrax.engines.planar.engine import FusedPlanar
from sacbrax.engines.upstream import as_brax_needs, quiet
from sacbrax.envs import make_env
from sacbrax.envs.tasks.playground_fused import TASKS
from sacbrax.xla.compiler_options import quick

STEPS = 100
MANY = 128  # a block or more of a CPU
TOUCH = ("CheetahRun", "WalkerRun", "WalkerStand", "WalkerWalk")  # the floor


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


def test_a_cheetah_folded_onto_itself() -> None:
    """Up to eight contacts of two bodies at once, with friction, which random actions never get to; as a GPU steps it,
    in float64, and as a CPU does, a whole block in float32."""
    playground()
    model, rng = solved(make_env("playground:CheetahRun", "fused").unwrapped.env.mj_model), np.random.default_rng(0)
    qpos = rng.uniform(-2.5, 2.5, (MANY, model.nq))
    qpos[:, 1] = rng.uniform(-0.3, 1.0, MANY)
    state = qpos, rng.normal(0, 2, (MANY, model.nv)), rng.uniform(-1, 1, (MANY, model.nu))
    assert sorted(_touches(model, q) for q in qpos)[MANY // 2] > 1
    places, speeds, _ = mujocos(model, 1, *state)
    engine = FusedPlanar(model, 1, placed_bodies=True)
    with jax.enable_x64(True):
        rows = jax.jit(functools.partial(engine.steps.integrate, lambda f: f))
        ours = [np.asarray(x) for x in rows(*(jnp.asarray(x) for x in state))]
    np.testing.assert_allclose(ours[0], places, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours[1], speeds, rtol=1e-9, atol=1e-9 * np.abs(speeds).max())
    single = jax.jit(jax.vmap(engine.step))(*(jnp.asarray(x, jnp.float32) for x in state))[1]
    error = np.abs(np.asarray(single) - speeds).max(axis=1) / np.abs(speeds).max(axis=1)
    assert np.median(error) < 1e-5
    assert error.max() < 5e-3


@pytest.mark.parametrize(
    "task", ["AcrobotSwingup", "CartpoleSwingup", "CheetahRun", "PendulumSwingup", "ReacherEasy", "WalkerWalk"]
)
def test_many_environments_in_single_precision(task: str) -> None:
    """As a run steps them: in blocks, one compiled function each."""
    playground()
    env: Any = make_env(f"playground:{task}", "fused")
    model = solved(env.unwrapped.model)
    reset, step = (jax.jit(jax.vmap(f), compiler_options=quick()) for f in (env.reset, env.step))
    start = reset(jax.random.split(jax.random.key(0), MANY))
    action = np.random.default_rng(0).uniform(-1, 1, (MANY, model.nu)).astype(np.float32)
    after, data = step(start, jnp.asarray(action)), mujoco.MjData(model)
    for i in range(MANY):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = (start.pipeline_state.arrays[name][i] for name in ("qpos", "qvel"))
        data.ctrl[:] = action[i]
        mujoco.mj_step(model, data, env.unwrapped.env.n_substeps)
        np.testing.assert_allclose(after.pipeline_state.arrays["qpos"][i], data.qpos, atol=1e-4)
        np.testing.assert_allclose(after.pipeline_state.arrays["qvel"][i], data.qvel, rtol=1e-3, atol=5e-3)
    along = [i for i in range(model.njnt) if model.joint(i).name == "rootx"]
    assert len(along) == (task in TOUCH)
    for i in along:  # kilometres away the same step, bit for bit
        arrays = start.pipeline_state.arrays
        gone = start.pipeline_state.replace(arrays=arrays | {"qpos": arrays["qpos"].at[:, i].add(3000.0)})
        far = step(start.replace(pipeline_state=gone), jnp.asarray(action))
        np.testing.assert_array_equal(far.pipeline_state.arrays["qvel"], after.pipeline_state.arrays["qvel"])
        moved = far.pipeline_state.arrays["qpos"][:, i] - after.pipeline_state.arrays["qpos"][:, i]
        np.testing.assert_allclose(moved, 3000.0, atol=1e-3)


def playground() -> None:
    with quiet():
        pytest.importorskip("mujoco_playground", reason="needs pip install 'sacbrax[playground]'")


def _touches(model: mujoco.MjModel, qpos: np.ndarray) -> int:
    """Contacts of two bodies."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    return sum(contact.dist < 0 and 0 not in contact.geom for contact in data.contact)


def _seen(data: mujoco.MjData) -> Any:
    """Of C MuJoCo's data what these tasks read of MJX's."""
    flat = {name: jnp.asarray(getattr(data, name)) for name in ("qpos", "qvel", "xpos", "geom_xpos", "site_xpos")}
    matrices = jnp.asarray(data.xmat).reshape(-1, 3, 3)
    return SimpleNamespace(xmat=matrices, sensordata=jnp.asarray(data.sensordata), **flat)


def _reward(own: Any, data: mujoco.MjData, state: Any) -> Any:
    return own._get_reward(_seen(data), jnp.asarray(data.ctrl), state.info, dict(state.metrics))
