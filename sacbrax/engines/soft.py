"""Soft constraints as arrays: the numbers of several beside each other, and MuJoCo's impedance."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from sacbrax.core.types import Array
from sacbrax.engines.reading import Soft
from sacbrax.engines.rows import column


def stacked(rows: Sequence[Any], like: Array) -> Array:
    """Rows [N] and numbers as one array of the shape of `like` [C, N]."""
    return jnp.stack([jnp.broadcast_to(jnp.asarray(row, like.dtype), like.shape[1:]) for row in rows])


def impedance(softs: Sequence[Soft], depth: Array) -> Any:
    """MuJoCo's impedance d(r), a spline between two values (manual, "Solver parameters"), of depths [C, N]."""
    start, end, width, midpoint, power = (column([soft.impedance[k] for soft in softs], depth) for k in range(5))
    if all(soft.impedance[0] == soft.impedance[1] for soft in softs):
        return start
    x = jnp.minimum(jnp.abs(depth) / width, 1.0)
    rising, falling = _power(x, power), _power(1 - x, power)
    y = jnp.where(x <= midpoint, midpoint ** (1 - power) * rising, 1 - (1 - midpoint) ** (1 - power) * falling)
    return start + y * (end - start)


def _power(x: Array, power: Any) -> Array:
    if isinstance(power, float) and power in (1.0, 2.0):
        return x if power == 1 else x * x
    return x**power
