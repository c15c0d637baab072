"""Batch normalization (arXiv:1502.03167) and renormalization (arXiv:1702.03275) of the layers of a network.

    learning      x̂ = (x - mean of the batch) / deviation of the batch,  renormalized: x̂ r + d
    evaluation    x̂ = (x - running mean) / running deviation
    both          y = scale x̂ + bias

with r the batch's deviation over the running one, between 1/3 and 3, and d the distance of the means in running
deviations, between -5 and 5: constants that take the difference between learning and evaluation away.

Which of the two a pass is, its parameters say: `learning` renames the collection of statistics. What the statistics are
to be after the pass comes back in the place of their gradient, as it does for the scales of flax's 8-bit numbers; so
it finds its way through any policy and any loss, and is averaged over shards like a gradient.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sacbrax.core.types import Array, Params

MOMENTUM, EPSILON = 0.99, 1e-3  # CrossQ's
R_MAX, D_MAX = 3.0, 5.0
KEPT, MOVING = "batch_stats", "moving_stats"  # flax's own name, and that in a pass of learning


class BatchNorm(nn.Module):
    """[B, J] -> [B, J]; in evaluation any leading axes."""

    renormalized: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        learning, shape = self.has_variable(MOVING, "mean"), x.shape[-1:]
        collection = MOVING if learning else KEPT
        mean = self.variable(collection, "mean", jnp.zeros, shape).value
        variance = self.variable(collection, "variance", jnp.ones, shape).value
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        y = x.astype(mean.dtype)
        if learning:
            y = _normalized(y, mean, variance, self.renormalized)
        else:
            mean, variance = jax.lax.stop_gradient((mean, variance))
            y = (y - _row(mean, y)) / _row(jnp.sqrt(variance + EPSILON), y)
        return (y * _row(scale, y) + _row(bias, y)).astype(self.dtype or y.dtype)


def _normalized(x: Array, mean: Array, variance: Array, renormalized: bool) -> Array:
    """By the batch's own statistics, [B, J] -> [B, J]; mean and variance [J] are the running ones, which move."""
    own_mean, own_variance = jnp.mean(x, axis=0), jnp.var(x, axis=0)
    deviation = jnp.sqrt(own_variance + EPSILON)
    y = (x - own_mean[None]) / deviation[None]
    if renormalized:
        running = jnp.sqrt(variance + EPSILON)
        r = jnp.clip(deviation / running, 1.0 / R_MAX, R_MAX)
        d = jnp.clip((own_mean - mean) / running, -D_MAX, D_MAX)
        r, d = jax.lax.stop_gradient((r, d))
        y = y * r[None] + d[None]
    moved = (mean + (1.0 - MOMENTUM) * (own_mean - mean), variance + (1.0 - MOMENTUM) * (own_variance - variance))
    return _handed_over(y, (mean, variance), moved)


@jax.custom_vjp
def _handed_over(x: Any, old: Any, new: Any) -> Any:
    """x itself; the gradient of `old` is `new`."""
    return x


def _forward(x: Any, old: Any, new: Any) -> tuple[Any, Any]:
    return x, new


def _backward(new: Any, gradient: Any) -> tuple[Any, Any, Any]:
    return gradient, new, jax.tree.map(jnp.zeros_like, new)


_handed_over.defvjp(_forward, _backward)


def _row(vector: Array, x: Array) -> Array:
    """[J] -> [1, ..., 1, J], of as many axes as x."""
    return vector.reshape(*(1,) * (x.ndim - 1), -1)


def learning(params: Params) -> Params:
    """Parameters whose pass normalizes by the batch, once in a loss, and hands over the statistics after it."""
    if not isinstance(params, dict):
        return params
    return {MOVING if name == KEPT else name: learning(part) for name, part in params.items()}


def without_statistics(grads: Params) -> Params:
    """Gradients with 0 in the place of statistics, for the optimizer."""
    return jax.tree_util.tree_map_with_path(lambda path, g: jnp.zeros_like(g) if _counted(path) else g, grads)


def statistics(grads: Params) -> list[Array]:
    """What came in the place of gradients."""
    return [g for path, g in jax.tree_util.tree_leaves_with_path(grads) if _counted(path)]


def with_statistics(params: dict[str, Params], grads: dict[str, Params], applied: Array) -> dict[str, Params]:
    """Parameters with the statistics that came in the place of gradients, of groups that have any, where `applied`,
    bool []."""

    def pick(path: Sequence[Any], old: Array, new: Array) -> Array:
        return jnp.where(applied, new, old) if _counted(path) else old

    moved = {group: params[group] for group in grads}
    return {**params, **jax.tree_util.tree_map_with_path(pick, moved, grads)}


def _counted(path: Sequence[Any]) -> bool:
    return any(entry.key == KEPT for entry in path)
