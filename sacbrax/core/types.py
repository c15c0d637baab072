"""The words every module shares: aliases and the transition. No logic lives here."""

from typing import Any

import jax
from flax import struct

Array = jax.Array
Key = jax.Array  # a typed key, `jax.random.key(seed)`
Params = Any  # a pytree of arrays
Metrics = dict[str, Array]


class Transition(struct.PyTreeNode):
    """What one environment step teaches. Leading axes: [N] from a rollout, [B] in a minibatch.

    `discount` is 1 - terminated: a time limit leaves it at 1, so the value behind a time limit is bootstrapped from
    `next_observation`, which is the true one, observed before any reset. In a minibatch of n-step windows `reward` is
    the discounted sum and `discount` already holds gamma to the power of the steps it covers.
    """

    observation: Array  # [..., O]
    action: Array  # [..., A] squashed, in [-1, 1]
    reward: Array  # [...]
    discount: Array  # [...]
    next_observation: Array  # [..., O]
