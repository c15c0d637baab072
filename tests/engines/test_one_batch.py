"""An operation whose every nest of `vmap` is one batch."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import mlir

from sacbrax.engines.one_batch import operation

SEEN: list[tuple[int, ...]] = []


def _total(x: jax.Array, nothing: jax.Array) -> list[jax.Array]:
    SEEN.append(x.shape)
    return [jnp.cumsum(x, axis=1) + nothing.sum(axis=1, keepdims=True)]


sums = operation("sums_of_rows", lambda x, _: [x])
mlir.register_lowering(sums, mlir.lower_fun(_total, multiple_results=True))


def one(x: jax.Array, nothing: jax.Array) -> jax.Array:
    """[size], [0] -> [size]."""
    return sums.bind(x[None], nothing[None])[0][0]


def test_axes_join_the_batch_wherever_they_are() -> None:
    """Also one that an array does not have, and arrays without entries, as the motors of a mechanism that has none."""
    x = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    SEEN.clear()
    found = jax.jit(jax.vmap(jax.vmap(one, (0, None)), (1, 0)))(x, np.zeros((3, 0), np.float32))
    np.testing.assert_array_equal(found, np.cumsum(x, axis=2).swapaxes(0, 1))
    assert SEEN == [(6, 4)]
