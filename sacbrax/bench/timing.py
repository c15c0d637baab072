"""What benchmarks share: a call long enough to time, medians, and the machine's name.

Knows no algorithm and no environment.
"""

import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from sacbrax.core.machine import cpus
from sacbrax.xla.compiler_options import quick


def add_xla_flag(flag: str) -> None:
    """One more of XLA's flags; only before JAX is used."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()


def compile_fast() -> None:
    """For programs that run once, before JAX is used: see `compiler_options.quick`."""
    for name, value in quick().items():
        add_xla_flag(f"--{name}={str(value).lower()}")


def seconds(function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call, waited for on the device; on the wall unless by another clock."""
    import jax

    begin = clock()
    jax.block_until_ready(function())
    return clock() - begin


def count_that_takes(target: float, function: Callable[[int], Any], most: int = 2**20) -> int:
    """A count for which `function(count)` takes about `target` seconds."""
    function(1)  # the first call is slow whatever it does, and would pass for one that takes long enough
    count = 1
    while True:
        taken = seconds(functools.partial(function, count))
        if taken > target / 2 or count >= most:
            return count
        count = min(most, count * max(2, min(10, int(target / max(taken, 1e-6)))))


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    import jax

    device = jax.devices()[0]
    return {"device": device.device_kind, "platform": device.platform, "cpus": cpus(), "jax": jax.__version__}
