"""What the algorithms ask of critics, and what all kinds share: an ensemble of networks as one batched network.

Knows no policy and no replay: what is to be learnt is told.
"""

from abc import ABC, abstractmethod

import jax
import jax.numpy as jnp

from sacbrax.agents.networks import critic_mlp
from sacbrax.config import Config
from sacbrax.core.types import Array, Key, Params


class Critics(ABC):
    """E state-action values; stateless, parameters are passed in and have a leading axis [E].

    A subclass says what the networks put out for a pair of observation and action, which number that is the value of,
    and how far it is from what it should be.
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
        x = jnp.concatenate([observation, action], axis=-1)
        # Repeated, for every product is then batched over [E]; shared, XLA transposes the first layer's output.
        x = jnp.broadcast_to(x[None], (self.num_critics, *x.shape))
        return jax.vmap(self._mlp.apply)(params, x)

    @abstractmethod
    def value(self, outputs: Array) -> Array:
        """Q of what the networks put out: [E, B, K] -> [E, B]."""

    @abstractmethod
    def loss(self, outputs: Array, target: Array) -> Array:
        """Of all members together: outputs [E, B, K], target [B] -> []. No gradient reaches the target."""
