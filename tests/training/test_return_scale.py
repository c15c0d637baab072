"""Rewards divided by the deviation of the discounted return, against NumPy, with faults, episode ends and shards."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax.config import Config, ConfigError
from sacbrax.parallel.shards import Shards
from sacbrax.training import replay as replay_lib
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]
OPTIONS = ("env.name=probes:Various", "env.num_envs=6", "replay.capacity=6000", "algorithm.normalize_rewards=true")
GAMMA, STEPS = 0.9, 60


def played(trainer: Trainer, steps: int = STEPS) -> tuple[Any, Any]:
    """The state after so many vector steps of random actions, and what each gave, [steps, N]."""
    hyper, seen = trainer.hyper(), trainer.vector_env.step

    def one(state: Any, key: Any) -> Any:
        action = jax.random.uniform(key, (trainer.num_envs, 2), minval=-1.0)
        _, step = seen(state.env, action, key)
        return trainer._collect(state, action, key, hyper)[0], (step.transition.reward, step.first, step.valid)

    state = trainer.init(jax.random.key(0), hyper)
    return jax.jit(lambda state: jax.lax.scan(one, state, jax.random.split(jax.random.key(1), steps)))(state)


def variance(reward: Any, first: Any, valid: Any) -> float:
    """Of the returns of sound steps, in float64, each vector step with the same weight."""
    total, means, squares = np.zeros(reward.shape[1]), [], []
    for r, begins, sound in zip(*map(np.asarray, (reward, first, valid)), strict=True):
        total = np.where(begins, 0.0, GAMMA * total) + np.where(sound, r, 0.0)
        means.append(total[sound].mean())
        squares.append((total[sound] ** 2).mean())
    return float(np.mean(squares) - np.mean(means) ** 2)


def test_the_scale_is_that_of_the_returns(tiny: Tiny) -> None:
    state, told = played(Trainer(tiny(*OPTIONS)))
    valid = np.asarray(told[2])
    assert valid.any(axis=1).all()
    assert not valid.all(), "some environments broke"
    assert np.asarray(told[1])[5:].any(), "episodes begin"
    assert float(state.return_scale.factor) == pytest.approx(1 / np.sqrt(variance(*told)), rel=1e-3)


@pytest.mark.parametrize("n_step", [1, 3])
def test_minibatches_have_scaled_rewards_and_replay_does_not(tiny: Tiny, n_step: int) -> None:
    trainer = Trainer(tiny(*OPTIONS, f"algorithm.n_step={n_step}"))
    state, _ = played(trainer)
    key, hyper = jax.random.key(3), trainer.hyper()
    batch = trainer._sample(state, key, 50, hyper)
    raw = replay_lib.sample(state.replay, key, 50, n_step, hyper["gamma"], jnp.zeros(()))
    np.testing.assert_allclose(batch.reward, raw.reward * state.return_scale.factor, rtol=1e-6)
    assert np.abs(batch.reward / raw.reward - 1).min() > 0.05


def test_one_absurd_reward_does_not_silence_the_others(tiny: Tiny) -> None:
    options = ("env.name=probes:Cue", "env.kwargs={nan_at: 3, nan_below: -0.9, fault: reward, value: 1e18}")
    state, _ = played(Trainer(tiny(*OPTIONS, *options)))
    plain, _ = played(Trainer(tiny(*OPTIONS, options[0])))
    assert float(state.return_scale.factor) > 0.01 * float(plain.return_scale.factor)


def test_shards_share_one_scale(tiny: Tiny) -> None:
    trainer = Trainer(tiny(*OPTIONS), Shards(2, 1))

    def shard(_: Any) -> Any:
        state, told = played(trainer)
        return state.return_scale.factor, told

    factors, told = jax.vmap(shard, axis_name="lane")(jnp.arange(2))
    assert float(factors[0]) == float(factors[1])
    joint = [np.concatenate(list(np.asarray(part)), axis=1) for part in told]
    assert float(factors[0]) == pytest.approx(1 / np.sqrt(variance(*joint)), rel=1e-3)


def test_critics_of_other_units_are_refused(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"^init\.parts: must be without critics"):
        tiny("algorithm.normalize_rewards=true", "init.from=runs/other")
    tiny("algorithm.normalize_rewards=true", "init.from=runs/other", "init.parts=[policy]")
