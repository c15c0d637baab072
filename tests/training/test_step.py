"""One vector step of training: its random numbers, how often it learns, and what its sums become."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from sacbrax.config import Config
from sacbrax.parallel.shards import LANE, Shards
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]


def advance(trainer: Trainer, state: Any, iterations: int) -> tuple[Any, Any]:
    return trainer.advance(state, trainer.zero_sums(state), trainer.hyper(), iterations)


def test_every_random_number_has_a_key_of_its_own(tiny: Tiny) -> None:
    """Acting, environments, and each of the two updates, over five vector steps."""
    trainer, keys = Trainer(tiny()), []

    def recorded(function: Callable, place: int) -> Callable:
        def call(*args: Any) -> Any:
            jax.debug.callback(lambda data: keys.append(tuple(data.tolist())), jax.random.key_data(args[place]))
            return function(*args)

        return call

    trainer.agent.act = recorded(trainer.agent.act, 2)
    trainer.agent.update = recorded(trainer.agent.update, 3)
    trainer.vector_env.step = recorded(trainer.vector_env.step, 2)
    state = trainer.init(jax.random.key(0), trainer.hyper())
    jax.block_until_ready(jax.jit(lambda state: advance(trainer, state, 5)[0])(state))
    jax.effects_barrier()
    assert len(set(keys)) == len(keys) == 5 * (1 + 1 + 2)


def test_shards_act_apart(tiny: Tiny) -> None:
    trainer = Trainer(tiny("parallel.shards=2", "eval.episodes=2"), Shards(count=2))
    trainer.agent.act = lambda agent, observation, key: jax.random.uniform(key, (2, 2))  # whatever is seen

    def stored(key: Any) -> Any:
        return advance(trainer, trainer.init(key, trainer.hyper()), 1)[0].replay.rows

    both = jax.jit(jax.vmap(stored, axis_name=LANE))
    rows = np.asarray(both(jax.numpy.stack([jax.random.key(0)] * 2)))
    assert rows.shape == (2, 32, 9), "half of the replay each"
    actions = rows[:, :2, 2:4].reshape(-1)  # of two environments each
    assert len(set(actions.tolist())) == 8


def test_keys_of_seeds_for_training_and_evaluation_all_differ(tiny: Tiny) -> None:
    trainer = Trainer(tiny())
    three = np.concatenate([jax.random.key_data(keys) for keys in Programs(trainer, 3).keys(4)])
    alone = np.stack([jax.random.key_data(key) for seed in (4, 5, 6) for key in Programs(trainer).keys(seed)])
    assert len(np.unique(three, axis=0)) == 6
    np.testing.assert_array_equal(np.concatenate([alone[::2], alone[1::2]]), three)


def test_sums_become_averages_per_step_episode_and_applied_update(tiny: Tiny) -> None:
    trainer, losses = Trainer(tiny("env.name=probes:Cue")), []
    update = trainer.agent.update

    def recorded(*args: Any) -> Any:
        agent, metrics = update(*args)
        jax.debug.callback(lambda loss: losses.append(float(loss)), metrics["critic_loss"])
        return agent, metrics

    trainer.agent.update = recorded
    state, sums = jax.jit(lambda state: advance(trainer, state, 10))(trainer.init(jax.random.key(0), trainer.hyper()))
    jax.effects_barrier()
    averages = jax.device_get(sums).averages()
    assert len(losses) == 20
    assert int(state.agent.gradient_steps) == 20
    assert float(averages["critic_loss"]) == pytest.approx(np.mean(losses), rel=1e-5)
    rows = np.asarray(state.replay.rows)[:40]
    assert float(averages["reward_mean"]) == pytest.approx(rows[:, 6].mean(), rel=1e-5)
    # Clocks start at 0, 1, 2 and 3 of 5 steps: of four environments the first alone sees two whole episodes.
    assert int(averages["episodes"]) == 2 + 1 + 1 + 1
    assert float(averages["episode_return"]) == 10
