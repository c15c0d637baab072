"""A function of environments as one kernel of a GPU: every thread computes one environment, in its registers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.core.errors import ConfigError
from sacbrax.core.types import Array
from sacbrax.xla.written_out import WrittenOut

OLDEST = 8  # major compute capability that Triton compiles for
THREADS = 32  # of a block: one warp, whose loops end when its own environments are done


def has_triton(device: Any) -> bool:
    """Whether it is a GPU. Raises `ConfigError` for one that is too old, or another maker's."""
    if device.platform != "gpu":
        return False
    capability = str(device.compute_capability)  # "9.0"; of AMD "gfx90a"
    major = capability.partition(".")[0]
    if not major.isdecimal() or int(major) < OLDEST:
        raise ConfigError(
            f"run.gpu_kernel: for NVIDIA's GPUs of compute capability {OLDEST}.0 on, not {capability}; set it to false"
        )
    return True


def one_kernel(f: Callable[..., Sequence[Array]], *arrays: Array, interpret: bool = False) -> list[Array]:
    """`f` of float arrays [N, size], each environment by itself, whose results are such arrays. Operations are those
    that `WrittenOut` knows."""
    from jax.experimental import pallas  # which a CPU's start need not wait for
    from jax.experimental.pallas import triton

    n, dtype, sizes = arrays[0].shape[0], arrays[0].dtype, [x.shape[1] for x in arrays]
    written = WrittenOut(f, sizes, dtype, THREADS)
    wide_in, wide_out = (pallas.next_power_of_2(sum(each)) for each in (sizes, written.sizes))
    blocks = pallas.cdiv(n, THREADS)

    def kernel(read: Any, write: Any) -> None:
        rows = _columns(read[...])
        found = [row for out in written(*_parts(rows, sizes)) for row in out]
        write[...] = _table([*found, *[jnp.zeros_like(rows[0])] * (wide_out - len(found))])

    # One array comes in and one goes out: Triton's time to compile is operations times places where memory is read
    # or written.
    together = jnp.concatenate(arrays, axis=1)
    padded = jnp.pad(together, ((0, blocks * THREADS - n), (0, wide_in - together.shape[1])), mode="edge")
    out = pallas.pallas_call(
        kernel,
        grid=(blocks,),
        in_specs=[pallas.BlockSpec((THREADS, wide_in), lambda i: (i, 0))],
        out_specs=pallas.BlockSpec((THREADS, wide_out), lambda i: (i, 0)),
        out_shape=jax.ShapeDtypeStruct((blocks * THREADS, wide_out), dtype),
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
    )(padded)
    return jnp.split(out[:n, : sum(written.sizes)], np.cumsum(written.sizes)[:-1], axis=1)


def _parts(rows: list[Array], sizes: Sequence[int]) -> list[list[Array]]:
    ends = np.cumsum(sizes)
    return [rows[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _columns(table: Array) -> list[Array]:
    """Of an array [n, 2^k], halved as a kernel can."""
    n, width = table.shape
    if width == 1:
        return [table.reshape(n)]
    even, odd = (_columns(half) for half in jnp.unstack(table.reshape(n, width // 2, 2), axis=2))
    return [x for pair in zip(even, odd, strict=True) for x in pair]


def _table(columns: list[Array]) -> Array:
    """The way back."""
    n, width = len(columns[0]), len(columns)
    if width == 1:
        return columns[0].reshape(n, 1)
    return jnp.stack([_table(columns[::2]), _table(columns[1::2])], axis=2).reshape(n, width)
