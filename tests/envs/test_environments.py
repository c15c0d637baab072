"""Brax's tasks behind our adapter, the pool of starts, and the wrappers: repeated actions, models of their own."""

import copy
import functools
import operator
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from probes import Cue, Weighed, fluids, weights
from tiny_config import make_tiny

from sacbrax.config import ConfigError, EnvConfig
from sacbrax.engines.mjx import Mjx
from sacbrax.engines.swimmer.engine import FusedSwimmer
from sacbrax.envs import ENVS, engine_of, make_env, randomized
from sacbrax.envs.randomize import Randomized
from sacbrax.envs.tasks import swimmer_models
from sacbrax.envs.vector_env import VectorEnv
from sacbrax.envs.wrappers import ActionRepeat
from sacbrax.training.trainer import Trainer

slow = pytest.mark.slow
BRAX = [name for name, path in ENVS.items() if path.startswith("sacbrax.envs.tasks.brax")]
PLANAR = ["halfcheetah", "hopper", "inverted_double_pendulum", "inverted_pendulum", "reacher", "walker2d"]
DEFAULT = ("inverted_pendulum",)  # MJX takes long to compile


def with_slow(names: list[str]) -> list[Any]:
    return [name if name in DEFAULT else pytest.param(name, marks=slow) for name in names]


@slow
@pytest.mark.parametrize("name", BRAX)
def test_what_is_carried_gives_braxs_own_results(name: str) -> None:
    """Steps from what is carried beside steps of Brax's whole state, in float64: what remains is rounding."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Brax's own, of MJX
        env: Any = make_env(name, "mjx")
        whole = jax.jit(env.env.reset)(jax.random.key(0))
        state = jax.jit(env.reset)(jax.random.key(0))
        step, whole_step = jax.jit(env.step), jax.jit(env.env.step)
        rng = np.random.default_rng(0)
        for _ in range(4):
            action = jnp.asarray(rng.uniform(-1, 1, env.action_size))
            state, whole = step(state, action), whole_step(whole, action)
            for field in ("obs", "reward", "done"):
                np.testing.assert_allclose(getattr(state, field), getattr(whole, field), rtol=1e-6, atol=1e-6)
            for metric, value in state.metrics.items():
                np.testing.assert_allclose(value, whole.metrics[metric], rtol=1e-6, atol=1e-6)
    assert env.observation_size == state.obs.size
    carried, all_of_it = (sum(leaf.nbytes for leaf in jax.tree.leaves(x)) for x in (state, whole))
    assert carried < all_of_it / 4


@pytest.mark.parametrize("name", with_slow(PLANAR))
def test_planar_tasks_are_the_same_on_the_fused_engine(name: str) -> None:
    """Beside MJX with a solver that does not stop early, in float64: the states, and all that Brax's code reads."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        fused, mjx = make_env(name, "fused"), make_env(name, "mjx", solver_iterations=60, ls_iterations=60)
        assert (fused.backend, mjx.backend, make_env(name).backend) == ("fused", "mjx", "fused")
        ours, theirs = (jax.jit(env.reset)(jax.random.key(0)) for env in (fused, mjx))
        step, their_step, rng = jax.jit(fused.step), jax.jit(mjx.step), np.random.default_rng(0)
        for _ in range(8):
            for field in ("obs", "reward", "done"):
                np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(ours.pipeline_state.x.pos, theirs.pipeline_state.x.pos, atol=1e-6)
            assert (
                jnp.abs(jnp.abs(jnp.sum(ours.pipeline_state.x.rot * theirs.pipeline_state.x.rot, -1)) - 1).max() < 1e-9
            )
            action = jnp.asarray(rng.uniform(-1, 1, fused.action_size))
            ours, theirs = step(ours, action), their_step(theirs, action)
    with pytest.raises(ValueError, match=r"env\.kwargs: solver_iterations caps MJX's solver"):
        make_env(name, solver_iterations=4)


@pytest.mark.parametrize("name", ["ant", "humanoid", "humanoidstandup", "pusher"])
def test_braxs_tasks_on_mjx_refuse_another_engine(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^env\.engine: fused does not step '{name}'; choose mjx$"):
        make_env(name, "fused")


def test_the_engine_that_a_configuration_means() -> None:
    meant = {
        name: engine_of(EnvConfig(name=name)) for name in ("swimmer", "ant", "hopper", "playground:CartpoleBalance")
    }
    assert meant == {"swimmer": "fused", "ant": "mjx", "hopper": "fused", "playground:CartpoleBalance": "mjx"}
    assert engine_of(EnvConfig(name="playground:CartpoleBalance", engine="fused")) == "fused"


def test_a_pool_is_drawn_from_and_its_states_are_never_computed_again() -> None:
    resets = 0

    class Counted(Cue):
        reset_pool = 5

        def reset(self, rng: Any) -> Any:
            nonlocal resets
            resets += 1
            return super().reset(rng)

    vector = VectorEnv(Counted(terminate_at=2), 8, 100)
    state = jax.jit(vector.reset)(jax.random.key(0))
    pool = np.asarray(state.pool.obs[:, 0])
    assert len(set(pool)) == 5
    np.testing.assert_array_equal(state.state.obs[:, 0], pool[np.arange(8) % 5])
    traced = resets
    starts, step = [], jax.jit(vector.step)
    for i in range(20):
        state, _ = step(state, jnp.zeros((8, 2)), jax.random.key(i))
        starts += [np.asarray(state.state.obs[:, 0])] if i % 2 else []
        np.testing.assert_array_equal(state.state.obs[:, 1], (i + 1) % 2)
    assert resets == traced, "a step holds no reset"
    drawn = np.stack(starts)
    assert set(drawn.ravel()) == set(pool), "all of the pool, nothing else"
    assert (drawn[1:] != drawn[:-1]).any(axis=0).all(), "every environment moves about in it"
    other = vector.refreshed(state, jax.random.key(7))
    assert not set(np.asarray(other.pool.obs[:, 0])) & set(pool)
    jax.tree.map(np.testing.assert_array_equal, other.replace(pool=state.pool), state)
    assert VectorEnv(Counted(), 8, 100, reset_pool=0).reset(jax.random.key(0)).pool is None


def test_rewards_are_clipped_for_learning_only() -> None:
    vector = VectorEnv(Cue(), 4, 8, reward_clip=2.5)
    state, step = vector.reset(jax.random.key(0)), jax.jit(vector.step)
    rewards = []
    for i in range(8):
        state, out = step(state, jnp.zeros((4, 2)), jax.random.key(i))
        rewards.append(float(out.transition.reward[0]))
    assert rewards == [0, 1, 2, 2.5, 2.5, 2.5, 2.5, 2.5]
    assert float(out.metrics["episode_return_sum"]) >= 28


@pytest.mark.parametrize(("end", "pay", "time"), [(0, 0 + 1 + 2, 3), (2, 0 + 1, 2), (3, 0 + 1 + 2, 3)])
def test_a_repeated_action_adds_up_rewards_until_the_end(end: int, pay: float, time: int) -> None:
    env = ActionRepeat(Cue(terminate_at=end), 3)
    state = jax.jit(env.step)(env.reset(jax.random.key(0)), jnp.zeros(2))
    assert (float(state.reward), float(state.obs[1]), float(state.done)) == (pay, time, float(end > 0))
    if not end:
        assert float(env.step(state, jnp.zeros(2)).reward) == 3 + 4 + 5


def other_model(fields: dict[str, Any]) -> Any:
    model = swimmer_models.gym_swimmer(3)
    model.opt.density, model.opt.viscosity = float(fields["opt.density"]), float(fields["opt.viscosity"])
    model.actuator_gear[:] = fields["actuator_gear"]
    return model


@pytest.mark.parametrize("engine", [FusedSwimmer, pytest.param(Mjx, marks=slow)])
def test_model_fields_make_another_model(engine: Any) -> None:
    """Steps with fields, different in every environment, beside steps of models compiled with those numbers."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        changed, step = engine(swimmer_models.gym_swimmer(3), 4), []
        qpos, qvel, ctrl = rng.uniform(-1.8, 1.8, (3, 5)), rng.normal(size=(3, 5)), rng.uniform(-1.2, 1.2, (3, 2))
        gear = np.zeros((3, 2, 6))
        gear[:, :, 0] = rng.uniform(50, 200, (3, 2))
        fields = {"opt.density": np.array([1500.0, 4000, 6000]), "opt.viscosity": np.array([0.1, 0.5, 0.02])}
        fields["actuator_gear"] = gear
        step = jax.jit(jax.vmap(changed.step))(qpos, qvel, ctrl, jax.tree.map(jnp.asarray, fields))
        for i in range(3):
            model = other_model({name: value[i] for name, value in fields.items()})
            expected = jax.jit(engine(model, 4).step)(*(jnp.asarray(x[i]) for x in (qpos, qvel, ctrl)))
            for ours, theirs in zip(step, expected, strict=True):
                np.testing.assert_allclose(ours[i], theirs, rtol=1e-9, atol=1e-9)


def test_of_what_a_model_has_none_there_is_nothing_to_multiply() -> None:
    """A fluid without viscosity may have another density."""
    model = swimmer_models.gym_swimmer(3)
    model.opt.viscosity = 0
    state = jnp.full(5, 0.3), jnp.full(5, 0.7), jnp.array([0.5, -1.0])
    after = FusedSwimmer(model, 4).step(*state, {"opt.density": jnp.float32(1500)})
    with pytest.raises(ValueError, match=r"opt.viscosity in proportion to the model's own, which is 0; use env.engine"):
        FusedSwimmer(model, 4).step(*state, {"opt.viscosity": jnp.float32(0.1)})
    model.opt.density = 1500
    for ours, theirs in zip(after, FusedSwimmer(model, 4).step(*state), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


RANDOMIZED = (
    pytest.param("inverted_pendulum_v5", "mjx", 3, ("opt.gravity", "dof_damping", "actuator_gear"), marks=slow),
    pytest.param("hopper_v5", "mjx", 20, ("opt.gravity", "dof_armature", "geom_friction"), marks=slow),  # it lands
    pytest.param("swimmer", "mjx", 3, ("opt.density", "opt.viscosity", "actuator_gear"), marks=slow),
)


@pytest.mark.parametrize(("name", "engine", "steps", "names"), RANDOMIZED)
def test_on_mjx_every_start_moves_as_mujoco_does_with_its_numbers(
    name: str, engine: str, steps: int, names: tuple[str, ...]
) -> None:
    """Whole fields scaled by numbers drawn at reset; C MuJoCo steps a model with the same, and the original one."""
    with jax.enable_x64(True):
        task: Any = make_env(name, engine)
        own = {field: np.array(operator.attrgetter(field)(task.model)) for field in names}
        scales = functools.partial(jax.random.uniform, shape=(len(own),), minval=0.5, maxval=2.0)
        env = Randomized(task, lambda key: {n: x * s for (n, x), s in zip(own.items(), scales(key), strict=True)})
        state: Any = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 3))
        start, step = jax.device_get(state.pipeline_state), jax.jit(jax.vmap(env.step))
        action = np.random.default_rng(0).uniform(-1, 1, (3, env.action_size))
        for _ in range(steps):
            state = step(state, action)
        after = jax.device_get(state.pipeline_state)
        ctrl = np.asarray(jax.vmap(task.ctrl)(action))

    def in_mujoco(i: int, fields: dict[str, Any]) -> np.ndarray:
        model = copy.deepcopy(task.model)
        for field, value in fields.items():
            owner, _, attribute = field.rpartition(".")
            setattr(operator.attrgetter(owner)(model) if owner else model, attribute, value)
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:], data.ctrl[:] = start.qpos[i], start.qvel[i], ctrl[i]
        mujoco.mj_step(model, data, steps * task.frame_skip)
        return data.qpos

    for i in range(3):
        np.testing.assert_allclose(after.qpos[i], in_mujoco(i, {n: x[i] for n, x in start.fields.items()}), atol=1e-6)
        assert np.abs(after.qpos[i] - in_mujoco(i, {})).max() > 1e-4, "as if nothing had been drawn"


def test_every_start_draws_a_model_of_its_own() -> None:
    env = randomized(make_env("swimmer"), "probes:fluids")
    vector = VectorEnv(env, 4, 2)
    state = jax.jit(vector.reset)(jax.random.key(0))
    density = state.state.pipeline_state.fields["opt.density"]
    assert len(set(np.asarray(density).tolist())) == 4
    after, _ = jax.jit(vector.step)(state, jnp.ones((4, 2)), jax.random.key(1))
    kept = np.asarray(after.state.pipeline_state.fields["opt.density"] == density)
    np.testing.assert_array_equal(kept, [True, True, False, False], "clocks are staggered: two episodes ended")


def test_every_start_has_its_own_model_where_the_task_prefers_a_pool() -> None:
    class Pooled(Weighed):
        reset_pool = 3

    assert VectorEnv(Pooled(), 8, 2).reset_pool == 3
    vector = VectorEnv(ActionRepeat(Randomized(Pooled(), weights), 2), 8, 2)
    state = vector.reset(jax.random.key(0))
    after, _ = vector.step(state, jnp.zeros((8, 1)), jax.random.key(1))
    drawn = [np.asarray(x.state.pipeline_state.fields["weight"]) for x in (state, after)]
    assert len(np.unique(np.concatenate(drawn))) == 16


def test_a_start_is_observed_with_its_own_model() -> None:
    """The reacher's tip is where the links that were drawn put it, as C MuJoCo has it."""
    task: Any = make_env("reacher_v5", "mjx")
    own = np.asarray(task.model.body_pos, np.float32)
    env = Randomized(task, lambda key: {"body_pos": own * jax.random.uniform(key, minval=0.5, maxval=2.0)})
    state: Any = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 3))
    physics = jax.device_get(state.pipeline_state)
    assert np.ptp(physics.fields["body_pos"], axis=0).max() > 0.01
    for i in range(3):
        model = copy.deepcopy(task.model)
        model.body_pos[:] = physics.fields["body_pos"][i]
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = physics.qpos[i], physics.qvel[i]
        mujoco.mj_forward(model, data)
        reach = data.body("fingertip").xpos - data.body("target").xpos
        np.testing.assert_allclose(state.obs[i, -2:], reach[:2], atol=1e-5)


def test_the_pages_example_of_model_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "environments.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for name, example in zip(("fields_of_mine", "harder_fields"), examples, strict=True):
        (tmp_path / f"{name}.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    vector = VectorEnv(randomized(make_env("swimmer"), "fields_of_mine:draw"), 4, 100)
    state: Any = jax.eval_shape(vector.reset, jax.random.key(0))
    assert state.state.pipeline_state.fields["actuator_gear"].shape == (4, 2, 6)
    paths = ("env.randomize=harder_fields:fluids", "env.curriculum=harder_fields:harder")
    moving: Any = Trainer(make_tiny("env.name=swimmer", *paths)).curriculum
    assert moving.initial == moving.after({"eval/return_mean": None}) == {"width": 0.0}
    assert moving.after({"eval/return_mean": 31.0, "curriculum/width": 0.45}) == {"width": 0.5}


def test_evaluations_keep_the_model() -> None:
    trainer = Trainer(make_tiny("env.name=swimmer", "env.randomize=probes:fluids"))
    assert isinstance(trainer.vector_env.env, Randomized)
    assert not isinstance(trainer.env, Randomized)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["env.name=swimmer", "env.randomize=fluids"], "env.randomize: 'fluids' is no import path"),
        (["env.name=swimmer", "env.randomize=probes:nothing"], "env.randomize: cannot import 'probes:nothing'"),
        (["env.randomize=probes:fluids"], "env.randomize: this task has no place for model fields"),
        (["env.name=hopper_v5", "env.links=3"], "^env.links: must be null, for 'hopper_v5' is no swimmer$"),
    ],
)
def test_mistakes_are_one_clear_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Trainer(make_tiny(*overrides))


def test_the_fused_engine_names_the_fields_it_varies() -> None:
    env = Randomized(make_env("swimmer"), lambda key: {"opt.gravity": jnp.zeros(3)})
    with pytest.raises(ValueError, match=r"env\.randomize: the fused engine varies .*, not opt\.gravity"):
        env.step(env.reset(jax.random.key(0)), jnp.zeros(2))


def test_defaults_leave_the_training_state_as_it_was() -> None:
    """No pool, no fields: the swimmer's state has the leaves that checkpoints of earlier releases have."""
    trainer = Trainer(make_tiny("env.name=swimmer"))
    env = jax.eval_shape(trainer.init, jax.random.key(0), trainer.hyper()).env
    leaves: Any = jax.tree_util.tree_leaves_with_path(env.state.pipeline_state)
    assert [path[0].name for path, _ in leaves] == ["qpos", "qvel"]
    assert env.pool is None
    assert fluids(jax.random.key(0)).keys() <= {"opt.density", "opt.viscosity", "actuator_gear"}
