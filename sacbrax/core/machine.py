"""The machine and the software of this process, as far as they tell: cores, processor, memory held, versions."""

import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sacbrax


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


def host_bytes() -> int:
    """The machine's memory, or the container's limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    cgroup = Path("/sys/fs/cgroup/memory.max")
    if cgroup.exists() and (text := cgroup.read_text().strip()).isdigit():
        limits.append(int(text))
    return min(limits)


def address_space() -> int | None:
    """The most virtual memory [bytes] that this process may have, `ulimit -v`; None where there is no limit."""
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def versions() -> dict[str, str]:
    """Of everything that the numbers depend on."""
    ours = {"sacbrax": sacbrax.__version__, "python": platform.python_version()}
    return ours | installed("jax", "jaxlib", "flax", "optax", "brax", "mujoco", "mujoco-mjx", "numpy")


def installed(*packages: str) -> dict[str, str]:
    """The version of each of these packages that is installed."""
    found = {package: _version(package) for package in packages}
    return {package: number for package, number in found.items() if number is not None}


@functools.cache  # 0.7 ms each, and a run asks at every evaluation
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def hardware() -> dict[str, Any]:
    """The machine, as far as it tells."""
    import jax

    return {
        "processor": processor(),
        "cores": cpus(),
        "devices": [device.device_kind for device in jax.devices()],
        "system": platform.platform(),
    }


@functools.cache
def git_revision() -> str | None:
    """The commit of the source tree, when it is one, as it was first asked for: what this process runs."""
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
