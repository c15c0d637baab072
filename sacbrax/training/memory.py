"""Memory of a run on its devices: what its state will take, what there is, and what is in use."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from sacbrax.config import Config, ConfigError, flat
from sacbrax.core.machine import host_bytes, peak_rss_bytes
from sacbrax.parallel.shards import DEVICE, LANE
from sacbrax.training import replay
from sacbrax.training.trainer import Trainer

STATE = ("replay", "environments", "networks")  # the parts of what is kept


def predicted_bytes(trainer: Trainer, num_seeds: int = 1) -> dict[str, int]:
    """Bytes that the training state will take on a device with `num_seeds`, by part; computed from shapes alone."""
    shards = trainer.shards
    axes = [(axis, size) for axis, size in ((DEVICE, shards.devices), (LANE, shards.lanes)) if axis in shards.axes]
    _, state = jax.make_jaxpr(trainer.init, axis_env=axes, return_shape=True)(jax.random.key(0), trainer.hyper())
    parts = (state.replay, state.prior), state.env, (state.agent, state.policy_average)
    copies = dict(zip(STATE, (shards.lanes, shards.lanes, 1), strict=True))
    return {
        name: num_seeds * copies[name] * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(part))
        for name, part in zip(STATE, parts, strict=True)
    }


def memory_line(parts: Mapping[str, int], devices: int = 1) -> str:
    """What training will take on each device, as `check_memory` says, for the log."""
    listed = ", ".join(f"{name} {size / 2**20:,.1f} MiB" for name, size in parts.items())
    which = "each" if devices > 1 else "the"
    return f"memory on {which} device: {sum(parts.values()) / 2**20:,.1f} MiB ({listed})"


def memory_in_use() -> str:
    """Of the first device where it tells, else the most that this process has held."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_in_use" in stats:
        return f"{stats['bytes_in_use'] / 2**30:.1f} GiB"
    held = peak_rss_bytes()
    return "not told" if held is None else f"{held / 2**30:.1f} GiB"


def working_bytes(trainer: Trainer, num_seeds: int = 1) -> dict[str, int]:
    """Bytes that a device needs at least beside the state, by part: what is sure to be there, not what a compiler adds.

    minibatches: of all updates of a vector step, as rows, their windows and the activations of one. evaluation: its
    observations, activations and keys.
    """
    config, lanes = trainer.config, trainer.shards.lanes
    row = replay.row_width(trainer.observation_size, trainer.action_size)
    width = config.network.widest
    candidates = config.policy.candidates if config.policy.kind == "latent" else 1
    drawn = trainer.batch_size * (config.train.updates_per_step * (2 * row + 3 * config.algorithm.n_step) + width)
    acting = trainer.shards.share(config.eval.episodes) * (trainer.observation_size + candidates * width)
    numbers = {"minibatches": drawn, "evaluation": acting + 2 * config.env.episode_length}
    return {name: 4 * num_seeds * lanes * count for name, count in numbers.items()}


# The keys that decide the size of each part; of all of them there is one of every seed.
WIDTHS = ("network.hidden_sizes", "network.actor_hidden_sizes", "network.critic_hidden_sizes")
KEYS = {
    "replay": ("replay.capacity",),
    "environments": ("env.num_envs", "env.reset_pool"),
    "networks": (
        *WIDTHS,
        "algorithm.num_critics",
        "policy.components",
        "policy.coupling_layers",
        "policy.coupling_hidden_sizes",
    ),
    "minibatches": ("train.updates_per_step", "train.batch_size", "algorithm.n_step", *WIDTHS),
    "evaluation": ("eval.episodes", "env.episode_length", "policy.candidates", *WIDTHS),
}
USUAL = flat(Config()) | {"env.reset_pool": 1024} | dict.fromkeys(WIDTHS, Config().network.hidden_sizes)


def check_memory(trainer: Trainer, seeds: int, devices: int = 1) -> dict[str, int]:
    """Bytes by part that the training of `seeds` will take on each device: its state, and what it works with.

    Raises `ConfigError`, before anything is compiled, if one of so many devices cannot hold them, or the host the copy
    of the state that a checkpoint is written from.
    """
    state = predicted_bytes(trainer, seeds)
    parts = state | working_bytes(trainer, seeds)
    _refuse(trainer.config, parts, device_bytes(devices), devices)
    if trainer.config.checkpoint.full and jax.process_count() == 1:
        explored = trainer.config.total_iterations * trainer.config.env.num_envs
        filled = min(1.0, explored / trainer.config.replay.capacity)
        copy = {name: int(size * (filled if name == "replay" else 1)) * devices for name, size in state.items()}
        room = host_bytes()
        if jax.devices()[0].platform == "cpu":
            room -= sum(state.values()) * devices
        _refuse(trainer.config, copy, room, 1, "the host has {} for the copy that a checkpoint is written from")
    return parts


def check_compiled(programs: Mapping[str, Any], config: Config, parts: Mapping[str, int], devices: int = 1) -> None:
    """Raise `ConfigError` if a device cannot hold the state, of which `check_memory` told the `parts`, and what its
    programs need beside, as the compiler says."""
    state = {name: parts[name] for name in STATE}
    for name, program in programs.items():
        if (found := program.memory_analysis()) is not None:  # None: this kind of device does not tell
            part = "evaluation" if name == "evaluate" else "minibatches" if name == "advance" else "environments"
            more = found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
            needed = state | {part: state.get(part, 0) + max(more, 0)}
            _refuse(config, needed, device_bytes(devices), devices)


def _refuse(config: Config, parts: Mapping[str, int], room: int, devices: int, has: str = "the device has {}") -> None:
    """Raise `ConfigError` if `parts` need more than `room`.

    It names the key that is furthest beyond what is usual, of those that decide the sizes of the large parts.
    """
    needed = sum(parts.values())
    if needed <= room:
        return
    values = flat(config)

    def excess(key: str) -> float:
        value, usual = (np.max(found.get(key) or 1) for found in (values, USUAL))
        return float(value) / float(usual)

    deciding = [key for name, size in parts.items() if 10 * size >= needed for key in KEYS[name]]
    key = max((*deciding, "train.num_seeds"), key=excess)
    listed = ", ".join(f"{name} {_gib(size)}" for name, size in parts.items())
    each = " on each device" if devices > 1 else ""
    raise ConfigError(
        f"{key}: the run needs {_gib(needed)}{each} ({listed}), {has.format(_gib(max(room, 0)))}; lower {key}"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:,.2f} GiB"


def device_bytes(devices: int = 1) -> int:
    """Memory of one device; for a CPU its share of the host's."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return host_bytes() // max(1, devices // jax.process_count())
