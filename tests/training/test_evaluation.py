"""Evaluation and diagnostics amid training: on which environment, from which starts, and by which random numbers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax.config import Config
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]


def returns(trainer: Trainer, state: Any, key: Any) -> list[float]:
    return np.asarray(jax.jit(trainer.evaluate)(state, key)["return"]).tolist()


def test_every_evaluation_has_starts_of_its_own(tiny: Tiny) -> None:
    """The probe pays what its start drew: no two episodes of any two evaluations are alike, nor like training's."""
    trainer = Trainer(tiny("env.name=probes:Draw", "eval.episodes=20", "env.num_envs=20"))
    train_key, key = Programs(trainer).keys(0)
    other_seed = Programs(trainer).keys(1)[1]
    state = trainer.init(train_key, trainer.hyper())
    later = state.replace(iteration=jnp.int32(1))
    evaluations = [returns(trainer, *arguments) for arguments in ((state, key), (later, key), (state, other_seed))]
    starts = np.concatenate([*evaluations, state.env.state.obs[:, 0]])
    assert len(np.unique(starts)) == len(starts) == 80
    assert returns(trainer, state, key) == evaluations[0], "the same moment of the same run"


def test_every_diagnosis_has_a_minibatch_of_its_own(tiny: Tiny) -> None:
    trainer = Trainer(tiny())
    programs = Programs(trainer)
    train_key, key = programs.keys(0)
    state = programs.prefill(programs.init(train_key, trainer.hyper()), trainer.hyper())
    diagnose = jax.jit(trainer.diagnose)
    now, again = (diagnose(state, trainer.hyper(), key)["qf1_mean"] for _ in range(2))
    later = diagnose(state.replace(iteration=state.iteration + 1), trainer.hyper(), key)["qf1_mean"]
    assert now == again
    assert now != later


def test_sampled_evaluations_draw_anew_in_every_step(tiny: Tiny) -> None:
    """The probe pays the action: were one key used for all steps, five equal actions would be summed."""
    trainer = Trainer(tiny("env.name=probes:Echo", "eval.deterministic=false", "eval.episodes=64"))
    state = trainer.init(jax.random.key(0), trainer.hyper())
    zero = jax.tree.map(jnp.zeros_like, state.agent.params["actor"])
    state = state.replace(agent=state.agent.replace(params=state.agent.params | {"actor": zero}))
    total = np.asarray(returns(trainer, state, jax.random.key(1)))
    # u ~ N(0, 1): tanh u has a variance of 0.394, and so has each of five independent ones.
    assert total.std() == pytest.approx(np.sqrt(5 * 0.394), rel=0.2)


def test_the_model_is_randomized_in_training_alone(tiny: Tiny) -> None:
    trainer = Trainer(tiny("env.name=probes:Weighed", "env.randomize=probes:weights", "eval.episodes=8"))
    state = trainer.init(jax.random.key(0), trainer.hyper())
    step = jax.jit(trainer.vector_env.step)(state.env, jnp.zeros((4, 1)), jax.random.key(1))[1]
    weights = np.asarray(step.transition.reward)
    assert len(set(weights.tolist())) == 4
    assert (weights >= 1).all()
    assert returns(trainer, state, jax.random.key(2)) == [0.0] * 8


def test_the_action_gain_is_there_in_training_and_in_evaluation(tiny: Tiny) -> None:
    """The probe pays the action it gets, in 5 steps."""
    trainer = Trainer(tiny("env.name=probes:Echo", "policy.action_gain=2.0"))
    state = trainer.init(jax.random.key(0), trainer.hyper())
    actions = jnp.array([[0.3], [-0.4], [0.6], [-0.9]])
    step = jax.jit(trainer.vector_env.step)(state.env, actions, jax.random.key(1))[1]
    np.testing.assert_allclose(step.transition.reward, [0.6, -0.8, 1.0, -1.0], rtol=1e-6)
    np.testing.assert_array_equal(step.transition.action, actions)
    trainer.evaluated.act_deterministic = lambda agent, observation: jnp.full((len(observation), 1), 0.3)
    np.testing.assert_allclose(returns(trainer, state, jax.random.key(2)), 5 * 0.6, rtol=1e-6)


def test_evaluation_normalizes_what_the_policy_sees(tiny: Tiny) -> None:
    """The policy plays the first number it sees, which is the draw of the start."""
    trainer = Trainer(tiny("env.name=probes:Echo", "eval.episodes=8"))
    trainer.evaluated.act_deterministic = lambda agent, observation: observation[:, :1]
    state = trainer.init(jax.random.key(0), trainer.hyper())
    moved = state.replace(normalizer=state.normalizer.replace(mean=jnp.full(2, 0.2), variance=jnp.full(2, 4.0)))
    draws, seen = (np.asarray(returns(trainer, s, jax.random.key(1))) / 5 for s in (state, moved))
    np.testing.assert_allclose(seen, (draws - 0.2) / 2, rtol=1e-4)
    assert len(set(draws.tolist())) == 8


def test_evaluation_clips_actions(tiny: Tiny) -> None:
    """A policy whose mean is -3 everywhere, without tanh."""
    trainer = Trainer(tiny("env.name=probes:Echo", "policy.squash=false"))
    state = trainer.init(jax.random.key(0), trainer.hyper())
    actor = jax.tree.map(
        lambda leaf: jnp.full_like(leaf, -3.0) if leaf.shape == (2,) else 0 * leaf, state.agent.params["actor"]
    )
    state = state.replace(agent=state.agent.replace(params=state.agent.params | {"actor": actor}))
    assert (trainer.agent.act_deterministic(state.agent, jnp.zeros((1, 2))) == -3).all()
    np.testing.assert_array_equal(returns(trainer, state, jax.random.key(1)), -5.0)
