"""What the algorithms ask of critics, and what all kinds share: an ensemble of networks as one batched network.

Knows no policy and no replay: what is to be learnt is told.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sacbrax.agents.networks import critic_mlp
from sacbrax.config import Config
from sacbrax.core.types import Array, Key, Metrics, Params

# One value of those of all members, [E, B] -> [B]; the names are those of `algorithm.target_q` and `policy_q`.
REDUCTIONS: dict[str, Callable[[Array], Array]] = {
    "first": lambda q: q[0],
    "min": lambda q: jnp.min(q, axis=0),
    "mean": lambda q: jnp.mean(q, axis=0),
}


class Returns(NamedTuple):
    """Returns that may follow: their mean, and for critics that learn more than it their distribution about it."""

    mean: Array  # [B]
    deviations: Array | None = None  # [B, K], possible returns less the mean
    probabilities: Array | None = None  # [B, K], of each

    def about(self, mean: Array, discount: Array) -> "Returns":
        """The same `discount` times as wide, about another mean. All [B]."""
        deviations = None if self.deviations is None else discount[:, None] * self.deviations
        return Returns(mean, deviations, self.probabilities)


class Critics(ABC):
    """E state-action values; stateless, parameters are passed in and have a leading axis [E].

    A subclass says what the networks put out for a pair of observation and action, which number that is the value of,
    and how far it is from what it should be. M members taken out are critics like all E.
    """

    def __init__(self, config: Config, num_critics: int, outputs: int):
        self.num_critics = num_critics
        self._mlp = critic_mlp(config.network, outputs)

    def init(self, key: Key, observation: Array, action: Array) -> Params:
        """Independent parameters of each member, leading axis [E]; observation [1, O], action [1, A] give the shape."""
        x = jnp.concatenate([observation, action], axis=-1)
        return jax.vmap(lambda k: self._mlp.init(k, x))(jax.random.split(key, self.num_critics))

    def __call__(self, params: Params, observation: Array, action: Array) -> Array:
        """The values: observation [B, O], action [B, A] -> Q [E, B]."""
        return self.value(self.outputs(params, observation, action))

    def outputs(self, params: Params, observation: Array, action: Array) -> Array:
        """What the networks put out, K numbers each: observation [B, O], action [B, A] -> [E, B, K]."""
        # Repeated, for every product is then batched over [E]; shared, XLA transposes the first layer's output.
        members = len(jax.tree.leaves(params)[0])
        return jax.vmap(self._mlp.apply)(params, _repeated(members, observation, action))

    @abstractmethod
    def value(self, outputs: Array) -> Array:
        """Q of what the networks put out: [E, B, K] -> [E, B]."""

    def reduced(self, outputs: Array, reduction: str) -> Returns:
        """The returns that all members together promise, one of `REDUCTIONS`: [E, B, K] -> [B]."""
        return Returns(REDUCTIONS[reduction](self.value(outputs)))

    def metrics(self, target: Returns) -> Metrics:
        """What a kind has to say of the targets of an update, [] each."""
        return {}

    @abstractmethod
    def loss(self, outputs: Array, target: Returns) -> Array:
        """Of all members together: outputs [E, B, K], target [B] -> []. No gradient reaches the target."""


def members_of(params: Params, indices: Array) -> Params:
    """The parameters of some members, leading axis [E] -> [M]."""
    return jax.tree.map(lambda leaf: leaf[indices], params)


def _repeated(members: int, *inputs: Array) -> Array:
    """Inputs side by side, for each member: [B, ...] each -> [E, B, I]. Repeated first they are one kernel of a GPU."""

    def repeat(x: Array) -> Array:
        return jnp.broadcast_to(x[None], (members, *x.shape))

    def last(*inputs: Array) -> Array:
        return repeat(jnp.concatenate(inputs, axis=-1))

    def first(*inputs: Array) -> Array:
        return jnp.concatenate([repeat(x) for x in inputs], axis=-1)

    return jax.lax.platform_dependent(*inputs, cpu=last, default=first)
