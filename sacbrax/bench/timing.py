"""What benchmarks share: a call long enough to time, medians, and the machine's name.

Knows no algorithm and no environment.
"""

import argparse
import functools
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def positive(text: str) -> int:
    """A command-line count."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


def add_xla_flag(flag: str) -> None:
    """One more of XLA's flags; only before JAX is used."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()


def compile_fast() -> None:
    """For programs that run once, before JAX is used: without its optimisations XLA compiles several times as fast.

    Its fusions by MLIR are among them: of a long chain of bodies on MJX they make a program that does not end within
    minutes (docs/environments.md, "The compiler"). Versions after 0.10 abort on a flag they do not know.
    """
    add_xla_flag("--xla_backend_optimization_level=0")
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        add_xla_flag("--xla_cpu_use_fusion_emitters=false")


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call, waited for on the device."""
    import jax

    begin = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - begin


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


def cpus() -> int:
    """Cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def peak_rss_bytes() -> int | None:
    """The most memory this process has held so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
