"""The swimmer tasks: the model is Gymnasium's, the task is Gymnasium's and rllab's, Brax's wrappers accept them."""

import importlib.resources
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from sacbrax.envs import make_env
from sacbrax.envs.tasks import swimmer_models
from sacbrax.envs.tasks.swimmer import Physics

# Fields of MjModel that only concern looks, names, or the sizes of such.
NOT_PHYSICS = (
    "cam_", "light_", "mat_", "tex_", "name_", "names_map", "geom_rgba", "geom_matid", "nbuffer", "ncam", "nlight",
    "nmat", "nnames", "nnames_map", "ntex", "ntexdata", "signature", "narena", "paths", "npaths", "text", "skin",
)  # fmt: skip


def test_the_model_equals_gymnasiums_in_every_physical_field() -> None:
    """All fields of MjModel and its options except the listed ones, bit for bit."""
    path = importlib.resources.files("gymnasium") / "envs/mujoco/assets/swimmer.xml"
    ours, theirs = swimmer_models.gym_swimmer(3), mujoco.MjModel.from_xml_path(str(path))
    compared = 0
    for a, b in ((ours, theirs), (ours.opt, theirs.opt)):
        for field in dir(a):
            value = getattr(a, field)
            if field.startswith(("_", *NOT_PHYSICS)) or not isinstance(value, np.ndarray | int | float):
                continue
            np.testing.assert_array_equal(value, getattr(b, field), err_msg=field)
            compared += 1
    assert compared > 300


@pytest.mark.parametrize(("engine", "steps"), [("fused", 200), pytest.param("mjx", 50, marks=pytest.mark.slow)])
def test_the_task_equals_gymnasiums_step_by_step(engine: str, steps: int) -> None:
    """Observation and reward of every step from the same start under the same actions, float32 within 2e-3."""
    theirs, env = gymnasium.make("Swimmer-v5"), make_env("swimmer", engine)
    theirs.reset(seed=0)
    data = theirs.unwrapped.data  # type: ignore[attr-defined]
    state = jax.jit(env.reset)(jax.random.key(0))
    physics = Physics(*(jnp.asarray(x, jnp.float32) for x in (data.qpos, data.qvel)))
    state, step, rng = state.replace(pipeline_state=physics), jax.jit(env.step), np.random.default_rng(0)
    for _ in range(steps):
        action = rng.uniform(-1, 1, env.action_size).astype(np.float32)
        observation, reward, _, _, info = theirs.step(action)
        state = step(state, jnp.asarray(action))
        np.testing.assert_allclose(state.obs, observation, atol=2e-3)
        np.testing.assert_allclose(state.reward, reward, atol=2e-3)
        np.testing.assert_allclose(state.metrics["reward_ctrl"], info["reward_ctrl"], atol=1e-6)
        assert state.done == 0
    assert env.observation_size == observation.size


@pytest.mark.parametrize("engine", ["fused", pytest.param("mjx", marks=pytest.mark.slow)])
def test_rllabs_task(engine: str) -> None:
    """Observation (qpos, qvel, centre of mass); reward its x velocity - 0.005 |a|^2: from MuJoCo's data."""
    env = make_env("swimmer_rllab", engine)
    state = jax.jit(env.reset)(jax.random.key(3))
    action = jnp.asarray([0.7, -0.4])
    state = jax.jit(env.step)(state, action)
    data = mujoco.MjData(env.model)  # type: ignore[attr-defined]
    data.qpos[:], data.qvel[:] = state.pipeline_state.qpos, state.pipeline_state.qvel
    mujoco.mj_forward(env.model, data)  # type: ignore[attr-defined]
    mujoco.mj_subtreeVel(env.model, data)  # type: ignore[attr-defined]
    np.testing.assert_allclose(state.obs, [*data.qpos, *data.qvel, *data.subtree_com[1]], atol=1e-6)
    np.testing.assert_allclose(state.reward, data.subtree_linvel[1][0] - 0.005 * 0.65, atol=1e-5)
    assert env.observation_size == 13
    assert env.dt == pytest.approx(0.05)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["swimmer", "swimmer_rllab"])
def test_resets_have_the_stated_spread_and_take_both_kinds_of_key(name: str) -> None:
    env = make_env(name)
    states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 4000)).pipeline_state
    qpos_std, qvel_std = (0.1 / np.sqrt(3), 0.1 / np.sqrt(3)) if name == "swimmer" else (0.01, 0.1)
    np.testing.assert_allclose(np.std(states.qpos, axis=0), qpos_std, rtol=0.06)
    np.testing.assert_allclose(np.std(states.qvel, axis=0), qvel_std, rtol=0.06)
    np.testing.assert_array_equal(env.reset(jax.random.PRNGKey(5)).obs, env.reset(jax.random.key(5)).obs)


def avals(tree: Any) -> Any:
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


def test_a_state_keeps_its_types() -> None:
    """A step leaves shapes, dtypes and strong typing as reset made them: scans carry them, nothing compiles twice."""
    env = make_env("swimmer")
    state = jax.eval_shape(env.reset, jax.random.key(0))
    after = jax.eval_shape(env.step, state, jax.ShapeDtypeStruct((2,), jnp.float32))
    assert avals(state) == avals(after)
    assert not any(x.weak_type for x in jax.tree.leaves(state))


@pytest.mark.parametrize("links", [3, 5, 20])
def test_links(links: int) -> None:
    env = make_env("swimmer", links=links)
    assert env.action_size == links - 1
    assert env.observation_size == 2 * links + 2
    assert env.reset(jax.random.key(0)).obs.shape == (2 * links + 2,)


def test_braxs_own_wrappers_accept_it() -> None:
    from brax.envs.wrappers import training

    env = training.EvalWrapper(training.wrap(make_env("swimmer"), episode_length=3))
    state = jax.jit(env.reset)(jax.random.split(jax.random.PRNGKey(0), 4))
    first, step = state.obs, jax.jit(env.step)
    for _ in range(3):
        state = step(state, jnp.ones((4, 2)))
    assert (state.done == 1).all()
    assert (state.info["truncation"] == 1).all()
    np.testing.assert_array_equal(state.obs, first)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (["swimer"], {}, r"env\.name: unknown 'swimer'; choose from swimmer, swimmer_rllab"),
        (["swimmer", "warped"], {}, r"env\.engine: unknown 'warped'; choose from fused, mjx, warp"),
        (["swimmer"], {"arms": 3}, r"env\.kwargs: arms: unknown for Swimmer-v5; choose from xml_file, frame_skip"),
        (["swimmer"], {"links": 2}, r"env\.links: 2 is not one of 3 to 20"),
        (["nowhere.at_all:Env"], {}, r"env\.name: cannot import 'nowhere.at_all:Env'"),
    ],
)
def test_mistakes_are_one_clear_line(args: list[str], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make_env(*args, **kwargs)
    assert "\n" not in str(error.value)


def test_an_environment_of_the_users_own_by_import_path() -> None:
    env = make_env("sacbrax.envs.tasks.swimmer:Swimmer", "fused", links=4)
    assert env.backend == "fused"
    assert env.action_size == 3


def test_importing_prints_nothing() -> None:
    """Commands print one JSON object; importing MJX would add lines of its own."""
    import subprocess
    import sys

    out = subprocess.run(
        [sys.executable, "-c", "import sacbrax.engines.mjx, brax.envs"], capture_output=True, text=True, check=True
    )
    assert out.stdout == ""


@pytest.mark.parametrize("name", ["swimmer", "swimmer_rllab"])
def test_the_solver_of_mjx_is_capped(name: str) -> None:
    """As the model that MJX is given has it; the fused engine has no such solver."""
    task: Any = make_env(name, "mjx", solver_iterations=3, ls_iterations=5)
    nominal: Any = make_env(name, "mjx")
    opt, own = task.engine.model.opt, nominal.engine.model.opt
    assert (opt.iterations, opt.ls_iterations) == (3, 5)
    assert (own.iterations, own.ls_iterations) == (task.model.opt.iterations, task.model.opt.ls_iterations)
    with pytest.raises(ValueError, match=r"env\.kwargs: ls_iterations caps MJX's solver; it needs env\.engine=mjx"):
        make_env(name, ls_iterations=5)
