"""The scale of rewards: one over the standard deviation of the discounted return, as it runs.

    G_t = gamma G_(t-1) + r_t, from 0 where an episode begins      r -> r / sqrt(Var[G] + 1e-8)

OpenAI Baselines' VecNormalize, and arXiv:1808.04355 section 2.4, without a mean: a reward keeps its sign. Replay keeps
the rewards themselves, so every minibatch is scaled by the statistics of now.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.agents.normalizer import Normalizer
from sacbrax.core.types import Array
from sacbrax.envs.vector_env import Step

FLOOR = 1e-8  # of the variance


class ReturnScale(struct.PyTreeNode):
    """Of one shard: its environments' returns, and statistics that are the same on all shards."""

    returns: Array  # [N]
    statistics: Normalizer  # of no observations, and of returns in the place of rewards

    @classmethod
    def create(cls, num_envs: int) -> "ReturnScale":
        """Before any reward: a scale of 1."""
        return cls(jnp.zeros(num_envs), Normalizer.create(0))

    def update(self, step: Step, gamma: Array, offset: Array, total: Callable[[Any], Any]) -> "ReturnScale":
        """Take in one vector step, whose rewards are learned from less `offset`. Faulty environments do not count, and
        a return far out counts as the normalizer's limit; every vector step weighs the same."""
        reward = jnp.where(step.valid, step.transition.reward - offset, 0.0)
        returns = jnp.where(step.first, 0.0, gamma * self.returns) + reward
        nothing = jnp.zeros((returns.shape[0], 0))
        statistics, _ = self.statistics.update(nothing, returns, step.valid, jnp.zeros(()), total)
        return ReturnScale(returns, statistics)

    @property
    def factor(self) -> Array:
        """What rewards are multiplied by, []."""
        return jax.lax.rsqrt(self.statistics.reward_variance + FLOOR)
