"""Models drawn at every start: Brax's and Playground's tasks and their own form of a randomizer; the bounds of a draw
that a curriculum moves.
"""

from pathlib import Path
from typing import Any

import fake_playground
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Weighed, heavier, weights, weights_up_to
from tiny_config import make_tiny

from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError
from sacbrax.engines.upstream import as_brax_needs, quiet
from sacbrax.envs import make_env, randomized
from sacbrax.envs.curriculum import Curriculum
from sacbrax.envs.randomize import Randomized, check
from sacbrax.envs.vector_env import VectorEnv, evaluate
from sacbrax.run.loop import run
from sacbrax.training.trainer import Trainer


@pytest.mark.parametrize("function", ["masses", "domain_randomize"])
def test_every_start_has_a_model_that_its_steps_have(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, and in Playground's own form; what is paid is the mass."""
    fake_playground.install(monkeypatch)
    nominal = make_env("playground:Count")
    vector = VectorEnv(randomized(nominal, f"fake_playground:{function}"), 4, 9)
    assert vector.reset_pool == 0
    state, step, paid = jax.jit(vector.reset)(jax.random.key(0)), jax.jit(vector.step), []
    for i in range(fake_playground.LAST + 1):
        state, out = step(state, jnp.ones((4, 1)), jax.random.key(i))
        paid.append(np.asarray(out.transition.reward))
    *episode, again = paid
    np.testing.assert_array_equal(episode, [episode[0]] * fake_playground.LAST)
    masses = np.concatenate([episode[0], again])
    assert len(np.unique(masses)) == 8
    assert (masses >= 2.0).all()
    assert (masses <= 3.0).all()
    unvaried = nominal.step(nominal.reset(jax.random.key(0)), jnp.ones(1))
    assert unvaried.reward == 1.0, "the task itself has its model again"


def test_a_pool_of_starts_is_one_of_models_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_playground.install(monkeypatch)
    vector = VectorEnv(randomized(make_env("playground:Count"), "fake_playground:masses"), 4, 2, reset_pool=3)
    state = vector.reset(jax.random.key(0))
    masses = state.pool.pipeline_state.fields["body_mass"][:, 1]
    after, _ = vector.step(state, jnp.zeros((4, 1)), jax.random.key(1))
    assert len(np.unique(masses)) == 3
    assert set(after.state.pipeline_state.fields["body_mass"][:, 1].tolist()) <= set(masses.tolist())


def pushed(model: Any, rng: Any) -> Any:
    """In Brax's form: another damping for each key, and one gravity for all."""
    damping = jax.vmap(lambda key: model.dof_damping * jax.random.uniform(key, minval=0.5, maxval=2.0))(rng)
    axes = jax.tree.map(lambda x: None, model).tree_replace({"dof_damping": 0})
    return model.tree_replace({"dof_damping": damping, "opt.gravity": model.opt.gravity * 0.5}), axes


def test_braxs_tasks_carry_what_their_own_form_changes() -> None:
    env: Any = randomized(make_env("inverted_pendulum", "mjx"), "test_randomize:pushed")
    fields = jax.eval_shape(env.reset, jax.random.key(0)).pipeline_state.fields
    assert {name: x.shape for name, x in fields.items()} == {"dof_damping": (2,), "opt.gravity": (3,)}


def check_it_moves_as_under(wrapper: Any, task: Any) -> None:
    """Observations of some steps are those of Brax's or Playground's own randomization, given the same models."""
    env, keys = randomized(task, "test_randomize:pushed"), jax.random.split(jax.random.key(0), 3)
    state: Any = jax.jit(jax.vmap(env.reset))(keys)
    damping = state.pipeline_state.fields["dof_damping"]
    assert len(np.unique(damping[:, 1])) == 3

    def theirs(model: Any) -> Any:
        _, axes = pushed(model, keys)
        return model.tree_replace({"dof_damping": damping, "opt.gravity": model.opt.gravity * 0.5}), axes

    with as_brax_needs():
        wrapped = wrapper(task.env, theirs)
        expected = jax.jit(wrapped.reset)(jax.vmap(lambda key: jax.random.split(key)[0])(keys))
        step, their_step = jax.jit(jax.vmap(env.step)), jax.jit(wrapped.step)
        for i in range(5):
            np.testing.assert_allclose(state.obs, expected.obs, rtol=1e-5, atol=1e-6)
            action = jax.random.uniform(jax.random.key(i), (3, 1), minval=-1.0, maxval=1.0)
            state, expected = step(state, action), their_step(expected, action)


@pytest.mark.slow
def test_a_task_of_brax_moves_as_under_braxs_own_wrapper() -> None:
    from brax.envs.wrappers.training import DomainRandomizationVmapWrapper

    check_it_moves_as_under(DomainRandomizationVmapWrapper, make_env("inverted_pendulum", "mjx"))


@pytest.mark.slow
def test_a_task_of_playground_moves_as_under_playgrounds_own_wrapper() -> None:
    with quiet():
        pytest.importorskip("mujoco_playground", reason="needs pip install 'sacbrax[playground]'")
        from mujoco_playground._src.wrapper import BraxDomainRandomizationVmapWrapper

    check_it_moves_as_under(BraxDomainRandomizationVmapWrapper, make_env("playground:CartpoleBalance"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["env.name=inverted_pendulum", "env.engine=mjx", "env.randomize=test_randomize:misspelt"],
            "env.randomize: the model has no array dof_dampin; choose from its .*, such as dof_damping",
        ),
        (
            ["env.name=inverted_pendulum", "env.engine=mjx", "env.randomize=test_randomize:misshapen"],
            r"env.randomize: dof_damping has shape \(2,\), not \(3,\)",
        ),
        (["env.name=inverted_pendulum", "env.randomize=test_randomize:pushed"], "fused engine of this task has one"),
        (["env.name=swimmer", "env.randomize=test_randomize:pushed"], "needs a model of MJX; use env.engine=mjx"),
        (["env.name=swimmer", "env.randomize=test_randomize:misspelt"], "the fused engine varies .*, not dof_dampin"),
        (["env.name=probes:Weighed", "env.randomize=test_randomize:NO_FUNCTION"], "NO_FUNCTION is no function, it is"),
        (["env.name=probes:Weighed", "env.randomize=test_randomize:a_list"], "gave a list, expected a dictionary"),
        (["env.name=probes:Weighed", "env.randomize=test_randomize:three"], "takes 3 arguments; choose a function of"),
        (["eval.randomize=true"], "eval.randomize: needs env.randomize"),
        (["env.curriculum=heavier"], "env.curriculum: 'heavier' is no import path"),
        (["env.curriculum=probes:heavier"], "env.curriculum: nobody takes its numbers"),
    ],
)
def test_what_cannot_be_is_one_clear_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Trainer(make_tiny(*overrides))
    assert "\n" not in str(error.value)


def misspelt(key: Any) -> Any:
    return {"dof_dampin": jnp.ones(2)}


def misshapen(key: Any) -> Any:
    return {"dof_damping": jnp.ones(3)}


NO_FUNCTION = {"dof_damping": 1.0}


def a_list(key: Any) -> Any:
    return [1.0]


def three(model: Any, keys: Any, more: Any) -> Any:
    return {}


def test_evaluations_have_drawn_models_on_request() -> None:
    base = ("env.name=probes:Weighed", "env.randomize=probes:weights", "eval.episodes=8")
    for overrides, low, high, different in (((), 0.0, 0.0, 1), (("eval.randomize=true",), 1.0, 2.0, 8)):
        trainer = Trainer(make_tiny(*base, *overrides))
        state = jax.jit(trainer.init)(jax.random.key(0), trainer.hyper())
        returns = np.asarray(jax.jit(trainer.evaluate)(state, jax.random.key(1))["return"])
        assert (returns >= low).all()
        assert (returns <= high).all()
        assert len(np.unique(returns)) == different


def test_a_curriculum_moves_what_is_drawn_and_nothing_is_compiled_anew() -> None:
    vector = VectorEnv(Randomized(Weighed(), weights_up_to), 64, 2, curriculum={"most": 1.0})
    state, traced = jax.jit(vector.reset)(jax.random.key(0)), 0

    @jax.jit
    def step(state: Any, key: Any) -> Any:
        nonlocal traced
        traced += 1
        return vector.step(state, jnp.zeros((64, 1)), key)[0]

    for most in (1.0, 100.0):
        state = step(state.replace(curriculum={"most": jnp.float32(most)}), jax.random.key(1))
        drawn = np.asarray(state.state.pipeline_state.fields["weight"])
        assert 0.8 * most < drawn.max() < most
    assert traced == 1


class Heavy(Weighed):
    """Whose weight a curriculum says, in training."""

    def reset(self, rng: Any, curriculum: Any = None) -> Any:
        state: Any = super().reset(rng)
        weight = jnp.float32(-1.0) if curriculum is None else curriculum["most"]
        return state.replace(pipeline_state=state.pipeline_state.replace(fields={"weight": weight}))


def test_a_task_may_take_the_numbers_itself() -> None:
    trainer = Trainer(make_tiny("env.name=test_randomize:Heavy", "env.curriculum=probes:heavier", "eval.episodes=4"))
    state: Any = jax.jit(trainer.init)(jax.random.key(0), trainer.hyper())
    np.testing.assert_array_equal(state.env.state.pipeline_state.fields["weight"], np.ones(4))
    np.testing.assert_array_equal(jax.jit(trainer.evaluate)(state, jax.random.key(0))["return"], np.full(4, -1.0))


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        ([1.0], r"gives \[1.0\]; choose a dictionary"),
        ({"most": "much"}, "most of 'mine' is 'much'; choose a finite number"),
        ({"most": float("nan")}, "most of 'mine' is nan"),
    ],
)
def test_what_is_no_curriculum_is_one_line(gives: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Curriculum("'mine'", lambda metrics: gives)
    with pytest.raises(RunError, match=message):
        Curriculum("'mine'", lambda metrics: gives if metrics else {"most": 1.0}).after({"env_steps": 1})


def test_a_curriculum_keeps_its_names() -> None:
    moving = Curriculum("'mine'", lambda metrics: {"more": 1.0} if metrics else {"most": 1.0})
    with pytest.raises(RunError, match="'mine' gives more after an evaluation; at the start it gave most"):
        moving.after({"env_steps": 1})
    assert Curriculum("", heavier).after({"curriculum/most": 4.0}) == {"most": 8.0}


def test_evaluations_that_draw_are_given_the_numbers() -> None:
    env = Randomized(Weighed(), weights_up_to)
    check(env, {"most": 1.0})
    numbers = {"most": jnp.float32(50.0)}
    found = evaluate(env, lambda obs, key: jnp.zeros((32, 1)), jax.random.key(0), 32, 1, numbers)
    assert 40.0 < float(found["return"].max()) < 50.0
    assert env.takes_curriculum
    assert not Randomized(Weighed(), weights).takes_curriculum


def test_a_run_logs_the_numbers_in_force(tmp_path: Path) -> None:
    overrides = ("env.name=probes:Weighed", "env.randomize=probes:weights_up_to", "env.curriculum=probes:heavier")
    result = run(make_tiny(*overrides, "train.num_seeds=2", f"run.dir={tmp_path}"), quiet=True)
    assert [row["curriculum/most"] for row in result.metrics] == [1.0, 2.0, 4.0]
    assert result.metrics[1]["train/reward_mean"] < result.metrics[2]["train/reward_mean"] < 4.0
