"""Running mean and variance of observations, and the running mean reward."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.core.types import Array


class Normalizer(struct.PyTreeNode):
    """Running statistics of what the environments emit; every vector step weighs the same.

    The averages move by 1/t, so after t vector steps they are plain means and need no count of samples in float32.
    """

    mean: Array  # [O]
    variance: Array  # [O]
    reward_mean: Array  # []
    steps: Array  # int32 []

    @classmethod
    def create(cls, observation_size: int) -> "Normalizer":
        """Statistics before any data: mean 0, variance 1."""
        return cls(
            mean=jnp.zeros(observation_size),
            variance=jnp.ones(observation_size),
            reward_mean=jnp.zeros(()),
            steps=jnp.zeros((), jnp.int32),
        )

    def update(
        self,
        observation: Array,
        reward: Array,
        valid: Array,
        reward_rate: Array,
        total: Callable[[Any], Any] = lambda sums: sums,
    ) -> "Normalizer":
        """Take in one vector step: observation [N, O], reward [N], valid [N] (faulty environments do not count).

        total: adds up the sums of all shards.
        """
        count = total(jnp.sum(valid))
        weight = valid / jnp.maximum(count, 1)  # [N]

        def average(numbers: Array) -> Array:
            return jnp.matmul(weight, numbers, precision="highest")

        mean, reward_mean = total(
            (average(jnp.where(valid[:, None], observation, 0.0)), average(jnp.where(valid, reward, 0.0)))
        )
        variance = total(average(jnp.where(valid[:, None], (observation - mean[None, :]) ** 2, 0.0)))
        rate = jnp.where(count > 0, 1.0 / (self.steps + 1.0), 0.0)
        delta = mean - self.mean
        reward_delta = reward_mean - self.reward_mean
        # The first steps average plainly (1/t) until the exponential rate is the slower one.
        reward_step = jnp.where(count > 0, jnp.maximum(reward_rate, 1.0 / (self.steps + 1.0)), 0.0)
        return self.replace(
            mean=self.mean + rate * delta,
            variance=self.variance + rate * (variance + (1.0 - rate) * delta**2 - self.variance),
            reward_mean=self.reward_mean + reward_step * reward_delta,
            steps=self.steps + (count > 0),
        )

    def __call__(self, observation: Array) -> Array:
        """Normalized observation, clipped to [-10, 10]. [..., O] -> [..., O]."""
        shape = (1,) * (observation.ndim - 1) + self.mean.shape
        scaled = (observation - self.mean.reshape(shape)) * jax.lax.rsqrt(self.variance + 1e-6).reshape(shape)
        return jnp.clip(scaled, -10.0, 10.0)
