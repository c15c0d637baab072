"""Layers whose weights have directions alone, with a learned length for each output (arXiv:1602.07868).

    y_j = s_j w_j · x / |w_j| + b_j

After every step of the optimizer each column w_j is put back to length 1, as in SimbaV2 (arXiv:2502.15280) and XQC
(arXiv:2509.25174): the layer stays as it is, and the step size stays what it is relative to the weights, which would
else grow and so learn ever slower.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from sacbrax.core.types import Array, Params


def unit(kernel: Array) -> Array:
    """The same columns at length 1, [..., I, J]."""
    return kernel / jnp.sqrt(jnp.sum(kernel * kernel, axis=-2, keepdims=True))


class Dense(nn.Module):  # named like flax's own, whose names of parameters it has
    """[..., I] -> [..., features]; `scale` [features] is the lengths."""

    features: int
    dtype: Any = None
    precision: Any = None
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", lambda key: unit(self.kernel_init(key, shape)))
        scale = self.param("scale", nn.initializers.ones, shape[1:])
        bias = self.param("bias", nn.initializers.zeros, shape[1:])
        x, kernel, bias = promote_dtype(x, unit(kernel) * scale[None], bias, dtype=self.dtype)
        return jnp.dot(x, kernel, precision=self.precision) + bias.reshape(*(1,) * (x.ndim - 1), -1)


def project(params: Params, applied: Array) -> Params:
    """Parameters with every such layer's columns at length 1 where `applied`, bool []; else, and the rest, as it is."""
    if not isinstance(params, dict):
        return params
    if {"kernel", "scale"} <= set(params):
        return params | {"kernel": jnp.where(applied, unit(params["kernel"]), params["kernel"])}
    return {name: project(part, applied) for name, part in params.items()}
