"""Memory of a run on its devices: what its state will take, what there is, and what is in use."""

import os
from pathlib import Path

import jax

from sacbrax.config import ConfigError
from sacbrax.core.machine import peak_rss_bytes
from sacbrax.parallel.shards import DEVICE, LANE
from sacbrax.training.trainer import Trainer


def predicted_bytes(trainer: Trainer, num_seeds: int = 1) -> dict[str, int]:
    """Bytes that the training state will take on a device with `num_seeds`, by part; computed from shapes alone."""
    shards = trainer.shards
    axes = [(axis, size) for axis, size in ((DEVICE, shards.devices), (LANE, shards.lanes)) if axis in shards.axes]
    _, state = jax.make_jaxpr(trainer.init, axis_env=axes, return_shape=True)(jax.random.key(0))
    parts = {"replay": state.replay, "environments": state.env, "networks": state.agent}
    copies = {"replay": shards.lanes, "environments": shards.lanes, "networks": 1}
    return {
        name: num_seeds * copies[name] * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(part))
        for name, part in parts.items()
    }


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
