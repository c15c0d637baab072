"""What a run says about itself: versions, revision, device memory predicted and available.

Reads the machine and writes nothing.
"""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import sacbrax
from sacbrax.config import ConfigError
from sacbrax.machine import cpus, peak_rss_bytes, processor
from sacbrax.trainer import Trainer, predicted_bytes


def versions() -> dict[str, str]:
    """Of everything that the numbers depend on."""
    names = ("jax", "jaxlib", "flax", "optax", "brax", "mujoco", "mujoco-mjx", "numpy")
    return {"sacbrax": sacbrax.__version__, "python": platform.python_version()} | {n: version(n) for n in names}


def hardware() -> dict[str, Any]:
    """The machine, as far as it tells."""
    return {
        "processor": processor(),
        "cores": cpus(),
        "devices": [device.device_kind for device in jax.devices()],
        "system": platform.platform(),
    }


def git_revision() -> str | None:
    """The commit of the source tree, when it is one."""
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


def memory_line(trainer: Trainer, seeds: int) -> str:
    """What the training state of `seeds` will take on each device, for the log."""
    parts = predicted_bytes(trainer, seeds)
    listed = ", ".join(f"{name} {size / 2**20:,.1f} MiB" for name, size in parts.items())
    which = "each" if trainer.shards.devices > 1 else "the"
    return f"memory on {which} device: {sum(parts.values()) / 2**20:,.1f} MiB ({listed})"


def memory_in_use() -> str:
    """Of the first device where it tells, else the most that this process has held."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_in_use" in stats:
        return f"{stats['bytes_in_use'] / 2**30:.1f} GiB"
    held = peak_rss_bytes()
    return "not told" if held is None else f"{held / 2**30:.1f} GiB"


def check_memory(trainer: Trainer, seeds: int, devices: int = 1) -> None:
    """Raise `ConfigError` if one of so many devices cannot hold the training state of `seeds`."""
    needed, limit = sum(predicted_bytes(trainer, seeds).values()), device_bytes(devices)
    if needed > limit:
        each = " on each device" if devices > 1 else ""
        raise ConfigError(
            f"replay.capacity: the run needs {needed / 2**30:,.2f} GiB{each}, the device has {limit / 2**30:,.2f} GiB; "
            "lower replay.capacity, env.num_envs or train.num_seeds"
        )


def device_bytes(devices: int = 1) -> int:
    """Memory of one device; for a CPU its share of the machine's own, or of the container's limit."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    cgroup = Path("/sys/fs/cgroup/memory.max")
    if cgroup.exists() and (text := cgroup.read_text().strip()).isdigit():
        limits.append(int(text))
    return min(limits) // max(1, devices // jax.process_count())
