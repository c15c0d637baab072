"""Gymnasium's own arguments in `env.kwargs`: each changes our task as it changes Gymnasium's.

The physics is C MuJoCo's on both sides, so that nothing is compiled; the slow tests have the real engines.
"""

import importlib
import inspect
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from native_engine import Native

from sacbrax.bench.parity import engines, sample
from sacbrax.config import ConfigError
from sacbrax.engines.model_warnings import unheard
from sacbrax.envs import ENVS, make_env
from sacbrax.view.episode import GYMNASIUM_IDS, gymnasium_env

# Another value for each argument, one that shows in the states that are drawn.
OTHER: dict[str, Any] = {
    "frame_skip": 3,
    "forward_reward_weight": 2.5,
    "ctrl_cost_weight": 0.3,
    "contact_cost_weight": 0.02,
    "contact_cost_range": [2.0, 3.0],
    "contact_force_range": [-0.5, 0.25],
    "impact_cost_weight": 0.02,
    "impact_cost_range": [2.0, 3.0],
    "healthy_reward": 3.0,
    "terminate_when_unhealthy": False,
    "healthy_state_range": [-3.0, 4.0],
    "healthy_z_range": [0.5, 1.4],
    "healthy_angle_range": [-0.4, 0.6],
    "main_body": 3,
    "reset_noise_scale": 0.3,
    "exclude_current_positions_from_observation": False,
    "include_cinert_in_observation": False,
    "include_cvel_in_observation": False,
    "include_qfrc_actuator_in_observation": False,
    "include_cfrc_ext_in_observation": False,
    "reward_near_weight": 2.0,
    "reward_dist_weight": 3.0,
    "reward_control_weight": 0.7,
}
STATES = 16


def task(name: str) -> Any:
    module, _, cls = ENVS[name].partition(":")
    return getattr(importlib.import_module(module), cls)


def native(name: str, **given: Any) -> Any:
    """Our task on C MuJoCo with the solver of Gymnasium's file, where MJX has another one."""

    def engine(model: mujoco.MjModel, frame_skip: int) -> Any:
        if name.startswith("humanoid"):
            model.opt.solver = mujoco.mjtSolver.mjSOL_PGS
        return Native(model, frame_skip)

    return task(name)(engine, **given)


@pytest.fixture
def other_model(tmp_path: Path) -> Any:
    """Of a task, the path of its model with less gravity and a shorter time step."""

    def write(name: str) -> str:
        folder = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
        with unheard(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what MuJoCo thinks of their files
            spec = mujoco.MjSpec.from_file(str(folder / task(name).defaults["xml_file"]))
            spec.option.gravity, spec.option.timestep = [0, 0, -7.0], 0.8 * spec.option.timestep
            text = spec.to_xml()
        path = tmp_path / f"{name}.xml"
        path.write_text(text)
        return str(path)

    return write


def others(name: str, other_model: Any) -> dict[str, Any]:
    """Another value for each argument of a task."""
    return {key: OTHER[key] for key in task(name).defaults if key in OTHER} | {"xml_file": other_model(name)}


def step(env: Any, theirs: dict[str, np.ndarray]) -> Any:
    """One step of ours from the states of Gymnasium's; what was seen before it, and the state after."""

    def one(qpos: Any, qvel: Any, action: Any) -> Any:
        start = env.at(qpos, qvel) if hasattr(env, "at") else placed(env, qpos, qvel)
        return start.obs, env.step(start, action)

    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        return jax.device_get(jax.vmap(one)(*(jnp.asarray(theirs[key]) for key in ("qpos", "qvel", "action"))))


def placed(env: Any, qpos: Any, qvel: Any) -> Any:
    state = jax.eval_shape(env.reset, jax.random.key(0))
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, qpos.dtype), state)
    physics = state.pipeline_state.replace(qpos=qpos, qvel=qvel)
    return state.replace(pipeline_state=physics, obs=env._observe(physics))


def agree(env: Any, theirs: dict[str, np.ndarray], near: float = 1e-9) -> None:
    start, after = step(env, theirs)
    for ours, other in ((start, "start"), (after.obs, "observation"), (after.reward, "reward")):
        assert ours.shape == theirs[other].shape
        np.testing.assert_allclose(ours, theirs[other], rtol=near, atol=near, err_msg=other)
    np.testing.assert_array_equal(after.done, theirs["terminated"])


@pytest.mark.parametrize("name", GYMNASIUM_IDS)
def test_the_arguments_are_gymnasiums(name: str) -> None:
    """Names and defaults, but for cameras and windows."""
    module, _, cls = str(gymnasium.spec(GYMNASIUM_IDS[name]).entry_point).partition(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), cls)).parameters
    theirs = {key: p.default for key, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    del theirs["default_camera_config"]
    if name == "humanoidstandup_v5":
        del theirs["uph_cost_weight"]  # without effect, as the next test shows
    assert task(name).defaults == theirs
    assert task(name).__name__ + "-v5" == GYMNASIUM_IDS[name]


def test_the_argument_that_gymnasium_does_not_read() -> None:
    usual, other = (sample("humanoidstandup_v5", 2, 0, **given) for given in ({}, {"uph_cost_weight": 5.0}))
    np.testing.assert_array_equal(usual["reward"], other["reward"])


@pytest.mark.parametrize("name", GYMNASIUM_IDS)
def test_each_argument_does_what_it_does_in_gymnasium(name: str, other_model: Any) -> None:
    """All of them at once; and each shows in what is compared, or a task that ignores it would pass."""
    near = 1e-4 if name.startswith("humanoid") else 1e-9  # Gymnasium's bounds of actions, 0.4, are in float32
    agree(native(name), sample(name, STATES, 0), near)
    given = others(name, other_model)
    theirs = sample(name, STATES, 0, **given)
    agree(native(name, **given), theirs, near)
    seen = {"exclude_current_positions_from_observation": False}  # in Gymnasium's model, which is stepped at the origin
    if seen.keys() <= given.keys():
        agree(native(name, **seen), sample(name, STATES, 0, **seen), near)
    for key in set(given) - {"reset_noise_scale"}:  # of starts: the next test
        without = sample(name, STATES, 0, **{other: value for other, value in given.items() if other != key})
        shows = [
            theirs[what].shape != without[what].shape or not np.array_equal(theirs[what], without[what])
            for what in ("observation", "reward", "terminated")
        ]
        assert any(shows), f"the case would not notice a task that ignores {key}"


@pytest.mark.parametrize("name", [name for name in GYMNASIUM_IDS if "reset_noise_scale" in task(name).defaults])
def test_starts_are_as_far_apart_as_gymnasiums(name: str) -> None:
    theirs: Any = gymnasium.make(GYMNASIUM_IDS[name], reset_noise_scale=0.3).unwrapped
    qpos = []
    for seed in range(200):
        theirs.reset(seed=seed)
        qpos.append([*theirs.data.qpos, *theirs.data.qvel])
    env, keys = native(name, reset_noise_scale=0.3), jax.random.split(jax.random.key(0), 1000)
    if name == "swimmer":
        physics = jax.vmap(env._start)(keys)
        ours = np.concatenate([physics.qpos, physics.qvel], axis=1)
    else:
        ours = np.concatenate(jax.vmap(env.start)(keys), axis=1)
    np.testing.assert_allclose(ours.std(axis=0), np.std(qpos, axis=0), rtol=0.25)
    np.testing.assert_allclose(ours.mean(axis=0), np.mean(qpos, axis=0), atol=0.1)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("hopper_v5", {"helthy_reward": 1}, "helthy_reward: unknown for Hopper-v5; choose from xml_file, frame_skip, "),
        ("swimmer", {"width": 480}, "width: unknown for Swimmer-v5; choose from xml_file, frame_skip, "),
        ("hopper_v5", {"frame_skip": 2.5}, "frame_skip: expected a whole number from 1 on, got 2.5"),
        ("hopper_v5", {"frame_skip": True}, "frame_skip: expected a whole number from 1 on, got True"),
        ("hopper_v5", {"healthy_reward": "1"}, "healthy_reward: expected a number, got '1'"),
        ("hopper_v5", {"healthy_z_range": [2, 1]}, r"healthy_z_range: expected two numbers, the smaller one first"),
        ("hopper_v5", {"terminate_when_unhealthy": 0}, "terminate_when_unhealthy: expected true or false, got 0"),
        ("hopper_v5", {"reset_noise_scale": -1}, "reset_noise_scale: expected a number from 0 on, got -1"),
        ("hopper_v5", {"xml_file": 3}, "xml_file: expected the name of a file, got 3"),
        ("hopper_v5", {"xml_file": "./none.xml"}, "xml_file: .*none.xml"),
        ("hopper_v5", {"xml_file": "none.xml"}, "xml_file: .*none.xml"),
        ("ant_v5", {"main_body": 1.5}, "main_body: expected a body's name or its number from 0 on, got 1.5"),
        ("ant_v5", {"main_body": 99}, "the model has no body 99; it has world, torso, "),
        ("ant_v5", {"main_body": "head"}, "the model has no body 'head'; it has world, torso, "),
    ],
)
def test_mistakes_are_one_clear_line(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^env\.kwargs: {message}") as error:
        make_env(name, **given)
    assert "\n" not in str(error.value)


def test_links_are_the_models_where_there_is_another_one(other_model: Any) -> None:
    path = other_model("swimmer")
    assert make_env("swimmer", xml_file=path).observation_size == 8
    with pytest.raises(ConfigError, match=r"^env\.links: must be null with the xml_file"):
        make_env("swimmer", xml_file=path, links=4)


class File:
    """As much of a policy as Gymnasium's twin of its task asks for."""

    def __init__(self, name: str, **given: Any) -> None:
        self.header = {"env": {"name": name, "kwargs": given}}


def test_the_judge_has_the_same_arguments() -> None:
    env = gymnasium_env(File("hopper_v5", frame_skip=3, forward_reward_weight=2.0, ls_iterations=4))  # type: ignore[arg-type]
    assert env.unwrapped.frame_skip == 3
    assert env.unwrapped._forward_reward_weight == 2.0
    with pytest.raises(
        ConfigError, match=r"^--engine: Hopper-v5 of this Gymnasium takes no helthy; choose from xml_file"
    ):
        gymnasium_env(File("hopper_v5", helthy=1))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^--engine: Gymnasium cannot make Hopper-v5 with .*none.xml"):
        gymnasium_env(File("hopper_v5", xml_file="./none.xml"))  # type: ignore[arg-type]


def test_a_pendulum_on_its_real_engine() -> None:
    given = {"frame_skip": 3}
    env = make_env("inverted_pendulum_v5", "fused", **given)
    agree(env, sample("inverted_pendulum_v5", STATES, 0, **given), 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "engine"), [(name, engine) for name in GYMNASIUM_IDS if name != "swimmer" for engine in engines(name)]
)
def test_all_arguments_at_once_on_the_real_engines(name: str, engine: str, other_model: Any) -> None:
    given = others(name, other_model)
    free = engine == "mjx" and name.startswith(("ant", "humanoid"))  # as in test_gymnasium_tasks
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):  # MJX's model is made in the precision of now
        env = make_env(name, engine, **given)
    agree(env, sample(name, STATES, 0, **given), 0.5 if free else 1e-6)
