"""Networks: the multilayer perceptron, an ensemble of critics, the value, and the observation normalizer.

Pure functions of their parameters. Knows configuration and shapes, no losses and no environments.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.config import NetworkConfig
from sacbrax.types import Array, Key, Params

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "silu": nn.silu,
    "tanh": jnp.tanh,
    "elu": nn.elu,
    "gelu": nn.gelu,
}


class MLP(nn.Module):
    """Hidden layers, then a linear output: [..., I] -> [..., output_size].

    Parameters and the output layer are float32 whatever the hidden layers compute in: a Q value in the hundreds has no
    digits after the point in bfloat16.
    """

    hidden_sizes: tuple[int, ...]
    output_size: int
    activation: str
    layer_norm: bool = False
    dtype: str = "float32"
    precision: str | None = None  # of float32 products; None is the device's default
    inputs: int | None = None  # how many of the first entries of x are seen; None for all

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.inputs is not None:
            x = x[..., : self.inputs]
        # None computes in the parameters' own type, which tests against NumPy make float64.
        dtype = None if self.dtype == "float32" else self.dtype
        for width in self.hidden_sizes:
            x = nn.Dense(width, dtype=dtype, precision=self.precision)(x)
            if self.layer_norm:
                x = nn.LayerNorm(dtype=dtype)(x)
            x = ACTIVATIONS[self.activation](x)
        return nn.Dense(self.output_size, precision=self.precision)(x)


def _mlp(
    config: NetworkConfig, hidden_sizes: tuple[int, ...], output_size: int, layer_norm: bool, inputs: int | None = None
) -> MLP:
    precision = None if config.matmul_precision == "default" else config.matmul_precision
    return MLP(hidden_sizes, output_size, config.activation, layer_norm, config.dtype, precision, inputs)


def actor_mlp(config: NetworkConfig, output_size: int, inputs: int | None = None) -> Any:
    """The network behind a policy: observation [..., O] -> [..., output_size]; sees the first `inputs` of O if given.

    An MLP, whose `apply` flax types too widely.
    """
    return _mlp(config, config.hidden_sizes, output_size, config.actor_layer_norm, inputs)


def coupling_mlp(config: NetworkConfig, hidden_sizes: tuple[int, ...], output_size: int) -> Any:
    """The network of a coupling layer, without layer norm: [..., I] -> [..., output_size]."""
    return _mlp(config, hidden_sizes, output_size, False)


class Critics:
    """E state-action values as one batched network: every array has a leading ensemble axis [E]."""

    def __init__(self, config: NetworkConfig, num_critics: int):
        self.num_critics = num_critics
        self._mlp: Any = _mlp(config, config.hidden_sizes, 1, config.critic_layer_norm)

    def init(self, key: Key, observation: Array, action: Array) -> Params:
        """Independent parameters of each member, leading axis [E]."""
        x = jnp.concatenate([observation, action], axis=-1)
        return jax.vmap(lambda k: self._mlp.init(k, x))(jax.random.split(key, self.num_critics))

    def __call__(self, params: Params, observation: Array, action: Array) -> Array:
        """observation [B, O], action [B, A] -> Q [E, B]."""
        x = jnp.concatenate([observation, action], axis=-1)
        # Repeated, for every product is then batched over [E]; shared, XLA transposes the first layer's output.
        x = jnp.broadcast_to(x[None], (self.num_critics, *x.shape))
        return jax.vmap(self._mlp.apply)(params, x)[..., 0]


class Value:
    """State value V(s)."""

    def __init__(self, config: NetworkConfig):
        self._mlp: Any = _mlp(config, config.hidden_sizes, 1, config.critic_layer_norm)

    def init(self, key: Key, observation: Array) -> Params:
        """Parameters of one network."""
        return self._mlp.init(key, observation)

    def __call__(self, params: Params, observation: Array) -> Array:
        """observation [B, O] -> V [B]."""
        return self._mlp.apply(params, observation)[..., 0]


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
