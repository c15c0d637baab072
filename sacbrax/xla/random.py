"""Random numbers of the training loop: `jax.random`'s own, bit for bit, in less time on a CPU.

Threefry is a loop of small operations, and XLA's CPU runtime starts each as a kernel of its own: eighty for one draw,
which cost more than the arithmetic. Here a draw is one native function. Knows neither policies nor environments.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.core.types import Array, Key
from sacbrax.xla.native_calls import compiled_apart

LARGEST = 4096  # numbers; XLA divides larger loops among threads, which one native function cannot


def uniform(key: Key, shape: tuple[int, ...], minval: float = 0.0, maxval: float = 1.0, dtype: Any = None) -> Array:
    """`jax.random.uniform`."""
    return _apart(lambda key: jax.random.uniform(key, shape, dtype or float, minval, maxval), key)


def normal(key: Key, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """`jax.random.normal`, whose inverse error function XLA may divide among threads: it stays outside."""
    kind = np.dtype(dtype or jnp.zeros(()).dtype).type
    return kind(np.sqrt(2)) * jax.lax.erf_inv(uniform(key, shape, np.nextafter(kind(-1), kind(0)), kind(1), kind))


def randint(key: Key, shape: tuple[int, ...], minval: Any, maxval: Any) -> Array:
    """`jax.random.randint`."""
    bounds = jnp.asarray(minval, jnp.int32), jnp.asarray(maxval, jnp.int32)
    return _apart(lambda key, *bounds: jax.random.randint(key, shape, *bounds), key, *bounds)


def split(key: Key, num: int = 2) -> Key:
    """`jax.random.split`."""
    return _apart(lambda key: jax.random.split(key, num), key)


def fold_in(key: Key, data: Any) -> Key:
    """`jax.random.fold_in`."""
    return _apart(jax.random.fold_in, key, jnp.asarray(data, jnp.uint32))


def _apart(draw: Callable, *args: Array) -> Array:
    """`draw(*args)` as one function of its own where it is small, all of it: also what `vmap` makes many of."""
    if jax.eval_shape(draw, *args).size > LARGEST or not any(isinstance(x, jax.core.Tracer) for x in args):
        return draw(*args)

    @jax.custom_batching.custom_vmap
    def call(*args: Array) -> Array:
        return jax.lax.platform_dependent(*args, cpu=compiled_apart(draw), default=draw)

    @call.def_vmap
    def many(size: int, batched: list[bool], *args: Array) -> tuple[Array, bool]:
        return _apart(jax.vmap(draw, tuple(0 if b else None for b in batched)), *args), True

    return call(*args)
