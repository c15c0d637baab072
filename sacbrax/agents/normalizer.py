"""Running mean and variance of observations, and the running mean reward."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.core.types import Array
from sacbrax.policy_file.numpy_policy import LIMIT, VARIANCE_FLOOR

LARGEST = 1e15  # from the mean where there are no statistics yet; its square is finite


class Normalizer(struct.PyTreeNode):
    """Running statistics of what the environments emit; every vector step weighs the same.

    The averages move by 1/t, so after t vector steps they are plain means and need no count of samples in float32.
    Physics that blows up passes through numbers that are finite and absurd. A number farther than `LIMIT` standard
    deviations from the mean enters as that limit, so it cannot spoil what later numbers are compared with, and numbers
    that have come to stay are followed within some steps. The first vector step enters whole.
    """

    mean: Array  # [O]
    variance: Array  # [O]
    reward_mean: Array  # []
    reward_variance: Array  # []
    steps: Array  # int32 []

    @classmethod
    def create(cls, observation_size: int) -> "Normalizer":
        """Statistics before any data: mean 0, variance 1."""
        return cls(
            mean=jnp.zeros(observation_size),
            variance=jnp.ones(observation_size),
            reward_mean=jnp.zeros(()),
            reward_variance=jnp.ones(()),
            steps=jnp.zeros((), jnp.int32),
        )

    def update(
        self,
        observation: Array,
        reward: Array,
        valid: Array,
        reward_rate: Array,
        total: Callable[[Any], Any] = lambda sums: sums,
    ) -> tuple["Normalizer", Array]:
        """Take in one vector step: observation [N, O], reward [N], valid [N] (faulty environments do not count).

        total: adds up the sums of all shards. Also returns how many numbers were bounded, int32 [].
        """
        count = total(jnp.sum(valid))
        weight = valid / jnp.maximum(count, 1)  # [N]

        def average(numbers: Array) -> Array:
            return jnp.matmul(weight, numbers, precision="highest")

        def bounded(numbers: Array, mean: Array, variance: Array) -> Array:
            # The variance of the start, 1, counts as one step: early on the numbers seen may be much alike.
            limit = jnp.minimum(LIMIT * jnp.sqrt(variance + 1.0 / self.steps), LARGEST)
            return jnp.clip(numbers, mean - limit, mean + limit)

        near = bounded(observation, self.mean[None, :], self.variance[None, :])
        near_reward = bounded(reward, self.reward_mean, self.reward_variance)
        mean, reward_mean = total(
            (average(jnp.where(valid[:, None], near, 0.0)), average(jnp.where(valid, near_reward, 0.0)))
        )
        # One product: squared deviations, and which numbers were bounded.
        columns = [(near - mean[None, :]) ** 2, ((near_reward - reward_mean) ** 2)[:, None]]
        columns += [near != observation, (near_reward != reward)[:, None]]
        averages = total(average(jnp.where(valid[:, None], jnp.concatenate(columns, axis=1), 0.0)))
        size = self.mean.shape[0]
        variance, reward_variance, odd = averages[:size], averages[size], jnp.sum(averages[size + 1 :])
        rate = jnp.where(count > 0, 1.0 / (self.steps + 1.0), 0.0)
        delta = mean - self.mean
        reward_delta = reward_mean - self.reward_mean
        # The first steps average plainly (1/t) until the exponential rate is the slower one.
        reward_step = jnp.where(count > 0, jnp.maximum(reward_rate, 1.0 / (self.steps + 1.0)), 0.0)
        spread = reward_variance + (1.0 - reward_step) * reward_delta**2
        after = self.replace(
            mean=self.mean + rate * delta,
            variance=self.variance + rate * (variance + (1.0 - rate) * delta**2 - self.variance),
            reward_mean=self.reward_mean + reward_step * reward_delta,
            reward_variance=self.reward_variance + reward_step * (spread - self.reward_variance),
            steps=self.steps + (count > 0),
        )
        return after, jnp.round(odd * count).astype(jnp.int32)

    def __call__(self, observation: Array) -> Array:
        """Normalized observation, clipped to [-LIMIT, LIMIT]. [..., O] -> [..., O]."""
        shape = (1,) * (observation.ndim - 1) + self.mean.shape
        scaled = (observation - self.mean.reshape(shape)) * jax.lax.rsqrt(self.variance + VARIANCE_FLOOR).reshape(shape)
        return jnp.clip(scaled, -LIMIT, LIMIT)
