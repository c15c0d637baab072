"""The machine's two roofs and where a gradient step stands under them.

A program that does F operations on B bytes does at most min(peak, bandwidth * F / B) a second. The peak is measured
with square matrix products, the bandwidth with a triad `y <- a y + x` on arrays far larger than the caches and on such
as fit into them. `bench.work` counts both for an update, B as if every array that it touches came from
memory each time it is used.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from sacbrax.bench import timing
from sacbrax.bench.update import LARGE_MATMUL_SIZES, MATMUL_SIZES, matmul
from sacbrax.cli import COUNT, duration, prepare_jax

FLOAT = 4  # bytes
TRIAD_BYTES = {"memory": 2**28, "cache": 2**19}  # of the two arrays together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--repeats", type=COUNT, default=5, help="timed calls (default 5)")
    parser.add_argument("--seconds", type=duration, default=0.5, help="length of a timed call (default 0.5)")


def prepare(args: argparse.Namespace) -> None:
    """Before JAX is imported."""
    prepare_jax()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the roofs."""
    import jax

    sizes = MATMUL_SIZES.get(jax.default_backend(), LARGE_MATMUL_SIZES)
    products = {size: matmul(size, args.seconds) for size in sizes}
    triads = {name: _triad(total, args.seconds) for name, total in TRIAD_BYTES.items()}
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    bandwidths: dict[str, list[float]] = {name: [] for name in triads}
    for _ in range(args.repeats):  # by turns, so that a busy neighbour slows all
        for size, (operations, call) in products.items():
            rates[size].append(operations / timing.seconds(call))
        for name, (moved, call) in triads.items():
            bandwidths[name].append(moved / timing.seconds(call))
    medians = {size: timing.spread(values)["median"] for size, values in rates.items()}
    best = max(medians, key=lambda size: medians[size])
    return {
        "machine": timing.machine(),
        "repeats": args.repeats,
        "matmul_size": best,
        "matmul_flops_per_second": medians[best],
        "matmul_flops_per_second_spread": timing.spread(rates[best]),
        "bytes_per_second": {name: timing.spread(values)["median"] for name, values in bandwidths.items()},
        "bytes_per_second_spread": {name: timing.spread(values) for name, values in bandwidths.items()},
        "triad_bytes": TRIAD_BYTES,
    }


def bound(roof: Mapping[str, Any], flops: float, moved: float, level: str = "memory") -> float:
    """Most operations per second under the roofs, for a program of `flops` operations on `moved` bytes."""
    return min(roof["matmul_flops_per_second"], roof["bytes_per_second"][level] * flops / moved)


def _triad(total: int, seconds: float) -> tuple[float, Any]:
    """Bytes that a call moves, and the call."""
    import jax
    import jax.numpy as jnp

    count = total // (2 * FLOAT)
    x, y = jnp.ones(count), jnp.zeros(count)

    @jax.jit
    def triad(x: Any, y: Any, repeats: Any) -> Any:
        return jax.lax.fori_loop(0, repeats, lambda _, y: 0.5 * y + x, y)

    repeats = timing.count_that_takes(seconds / 2, lambda n: triad(x, y, jnp.int32(n)))
    return 3.0 * FLOAT * count * repeats, lambda: triad(x, y, jnp.int32(repeats))


def print_table(result: dict[str, Any]) -> None:
    """The result for a terminal."""
    print(f"{result['machine']['device']}, {result['machine']['cpus']} cores")
    size = result["matmul_size"]
    print(f"  matrix product     {result['matmul_flops_per_second'] / 1e9:10,.1f} GFLOP/s   ({size} x {size})")
    for name, rate in result["bytes_per_second"].items():
        ridge = result["matmul_flops_per_second"] / rate
        print(f"  bandwidth, {name:7} {rate / 1e9:10,.1f} GB/s        (ridge at {ridge:,.1f} FLOP/byte)")
