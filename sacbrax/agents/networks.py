"""Networks: the multilayer perceptron of policies and critics, and the value.

Pure functions of their parameters. Knows configuration and shapes, no losses and no environments.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from sacbrax.agents import weight_norm
from sacbrax.agents.batch_norm import BatchNorm
from sacbrax.agents.simba import SimBa
from sacbrax.config import NetworkConfig
from sacbrax.core.types import Array, Key, Params

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
    weight_norm: bool = False
    batch_norm: str = "off"  # of the input and after each activation: batch, or renorm
    dtype: str = "float32"
    precision: str | None = None  # of float32 products; None is the device's default
    inputs: int | None = None  # how many of the first entries of x are seen; None for all

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.inputs is not None:
            x = x[..., : self.inputs]
        # None computes in the parameters' own type, which tests against NumPy make float64.
        dtype = None if self.dtype == "float32" else self.dtype
        dense = weight_norm.Dense if self.weight_norm else nn.Dense
        if self.batch_norm != "off":
            x = BatchNorm(self.batch_norm == "renorm", dtype)(x)
        for width in self.hidden_sizes:
            x = dense(width, dtype=dtype, precision=self.precision)(x)
            if self.layer_norm:
                x = nn.LayerNorm(dtype=dtype)(x)
            x = ACTIVATIONS[self.activation](x)
            if self.batch_norm != "off":
                x = BatchNorm(self.batch_norm == "renorm", dtype)(x)
        return nn.Dense(self.output_size, precision=self.precision)(x)


def _mlp(config: NetworkConfig, hidden_sizes: tuple[int, ...], output_size: int, **options: Any) -> MLP:
    return MLP(hidden_sizes, output_size, config.activation, **_numbers(config), **options)


def _simba(config: NetworkConfig, hidden_sizes: tuple[int, ...], output_size: int, **options: Any) -> SimBa:
    activation = ACTIVATIONS[config.activation]
    return SimBa(hidden_sizes[0], len(hidden_sizes), output_size, activation, **_numbers(config), **options)


def _numbers(config: NetworkConfig) -> dict[str, Any]:
    """How networks compute."""
    precision = None if config.matmul_precision == "default" else config.matmul_precision
    return {"dtype": config.dtype, "precision": precision}


def actor_mlp(config: NetworkConfig, output_size: int, inputs: int | None = None) -> Any:
    """The network behind a policy: observation [..., O] -> [..., output_size]; sees the first `inputs` of O if given.

    A flax module, whose `apply` flax types too widely.
    """
    options = {"weight_norm": config.actor_weight_norm, "inputs": inputs}
    if config.actor_block == "simba":
        return _simba(config, config.actor_sizes, output_size, **options)
    norms = {"layer_norm": config.actor_layer_norm, "batch_norm": config.actor_batch_norm}
    return _mlp(config, config.actor_sizes, output_size, **norms, **options)


def coupling_mlp(config: NetworkConfig, hidden_sizes: tuple[int, ...], output_size: int) -> Any:
    """The network of a coupling layer, without layer norm: [..., I] -> [..., output_size]."""
    return _mlp(config, hidden_sizes, output_size)


def critic_mlp(config: NetworkConfig, output_size: int) -> Any:
    """The network of a critic or a value: [..., I] -> [..., output_size]."""
    options = {"weight_norm": config.critic_weight_norm}
    if config.critic_block == "simba":
        return _simba(config, config.critic_sizes, output_size, **options)
    norms = {"layer_norm": config.critic_layer_norm, "batch_norm": config.critic_batch_norm}
    return _mlp(config, config.critic_sizes, output_size, **norms, **options)


class Value:
    """State value V(s)."""

    def __init__(self, config: NetworkConfig):
        self._mlp = critic_mlp(config, 1)

    def init(self, key: Key, observation: Array) -> Params:
        """Parameters of one network."""
        return self._mlp.init(key, observation)

    def __call__(self, params: Params, observation: Array) -> Array:
        """observation [B, O] -> V [B]."""
        return self._mlp.apply(params, observation)[..., 0]
