"""How actions explore: random numbers kept for some vector steps, and noise of each environment's own size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax.config import Config, ConfigError
from sacbrax.parallel.shards import Shards
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]
STEPS = 12
MANY = ("env.num_envs=64", "replay.capacity=128", "train.total_env_steps=200")


def actions(trainer: Trainer, act: Callable[..., Any]) -> np.ndarray:
    """[STEPS, N, A] of a trainer whose policy is `act`, from iteration 0."""
    trainer.agent.act = act  # type: ignore[method-assign]
    hyper = trainer.hyper()
    start = trainer.init(jax.random.key(0), hyper)

    def one(iteration: Any) -> Any:
        state = start.replace(iteration=iteration)
        key = jax.random.fold_in(jax.random.key(9), iteration)
        return trainer._explore(state, state.env.state.obs, key)

    return np.asarray(jax.jit(jax.vmap(one))(jnp.arange(STEPS)))


def random_act(agent: Any, observation: Any, key: Any) -> Any:
    return jax.random.uniform(key, (observation.shape[0], 2), minval=-1.0)


@pytest.mark.parametrize("repeat", [1, 3, 5])
def test_random_numbers_are_kept_for_so_many_steps(tiny: Tiny, repeat: int) -> None:
    found = actions(Trainer(tiny(f"policy.noise_repeat={repeat}")), random_act)
    for step in range(1, STEPS):
        assert (found[step] == found[step - 1]).all() == (step % repeat > 0)
    assert len(np.unique(found[0])) == found[0].size, "every environment has numbers of its own"


def test_each_environment_has_noise_of_its_own_size(tiny: Tiny) -> None:
    """From a policy of zeros: divided by the deviations of the closed form, standard normal numbers are left."""
    config = tiny(*MANY, "policy.noise_min=0.05", "policy.noise_max=0.2")
    found = actions(Trainer(config), lambda agent, observation, key: jnp.zeros((64, 2)))
    deviation = 0.05 + 0.15 * np.arange(64) / 63
    numbers = found / deviation[None, :, None]
    assert np.abs(found).max() < 1.0
    assert abs(numbers.std() - 1.0) < 0.07
    first, last = numbers[:, :32], numbers[:, 32:]
    assert abs(first.std() / last.std() - 1.0) < 0.1
    assert len(np.unique(found)) > 0.99 * found.size


def test_noise_ends_at_the_limits_of_squashed_actions(tiny: Tiny) -> None:
    for squash in (True, False):
        config = tiny("policy.noise_min=1", "policy.noise_max=3", f"policy.squash={str(squash).lower()}")
        found = actions(Trainer(config), lambda agent, observation, key: jnp.full((4, 2), 0.5))
        assert (np.abs(found).max() <= 1.0) == squash


def test_noise_of_shards_is_that_of_their_environments(tiny: Tiny) -> None:
    """The second of two shards has the larger half of the deviations."""
    config = tiny(*MANY, "policy.noise_max=0.2")
    trainer = Trainer(config, Shards(2, 1))
    trainer.agent.act = lambda agent, observation, key: jnp.zeros((32, 2))  # type: ignore[method-assign]

    def one(iteration: Any) -> Any:
        state = trainer.init(jax.random.key(0), trainer.hyper()).replace(iteration=iteration)
        return trainer._explore(state, state.env.state.obs, jax.random.key(1))

    def shard(_: Any) -> Any:
        return jax.vmap(one)(jnp.arange(STEPS))

    found = np.asarray(jax.jit(jax.vmap(shard, axis_name="lane"))(jnp.arange(2)))
    for i, numbers in enumerate(found):
        expected = np.sqrt(np.mean((0.2 * (32 * i + np.arange(32)) / 63) ** 2))
        assert abs(numbers.std() / expected - 1.0) < 0.15


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        (["policy.noise_min=0.2", "policy.noise_max=0.1"], "policy.noise_max"),
        (["policy.initial_sigma=0.5", "policy.kind=latent"], "policy.initial_sigma"),
        (["policy.initial_sigma=0.5", "policy.log_sigma_min=-0.5"], "policy.initial_sigma"),
        (["policy.noise_repeat=0"], "policy.noise_repeat"),
    ],
)
def test_what_cannot_be_is_refused(tiny: Tiny, wrong: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: "):
        tiny(*wrong)
