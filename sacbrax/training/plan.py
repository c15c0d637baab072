"""Who trains where: the devices of a run, the shards of an agent, and which sizes divide among them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from sacbrax.config import Config, ConfigError
from sacbrax.parallel import processes
from sacbrax.parallel.shards import Shards


@dataclasses.dataclass(frozen=True)
class Plan:
    """Who trains where."""

    devices: tuple[Any, ...]
    over_seeds: bool = False
    shards: Shards = Shards()

    @classmethod
    def of(cls, config: Config, stored_shards: int | None = None, there: Sequence[Any] | None = None) -> "Plan":
        """What `parallel` asks for on the devices that are `there`, JAX's when None; the shards of a run that goes on
        are `stored_shards`.

        Raises `ConfigError`, before anything is compiled, for sizes that do not divide.
        """
        parallel, there = config.parallel, jax.devices() if there is None else there
        processes.check(parallel, config.run.dir)
        number = len(there) if parallel.devices == "all" else int(parallel.devices)
        if number > len(there):
            raise ConfigError(f"parallel.devices: {number}, but there are {len(there)}")
        if jax.process_count() > 1 and number != len(there):
            raise ConfigError(f"parallel.devices: {number}, but the processes have {len(there)}; all must take part")
        devices = tuple(there[:number])
        if parallel.over == "seeds":
            if (parallel.shards or stored_shards or 1) > 1:
                raise ConfigError("parallel.shards: must be 1 when parallel.over is seeds: an agent is then whole")
            _divide(config, "train.num_seeds", number, f"the {number} devices")
            return cls(devices, over_seeds=True)
        count = parallel.shards or stored_shards or number
        if count % number:
            fitting = [n for n in range(1, len(there) + 1) if count % n == 0]
            raise ConfigError(
                f"parallel.devices: {number} cannot hold the same number of {count} shards each; "
                f"choose from {', '.join(map(str, fitting))}"
            )
        for key in ("env.num_envs", "replay.capacity", "train.batch_size", "eval.episodes"):
            _divide(config, key, count, f"the {count} shards of parallel.{'shards' if parallel.shards else 'devices'}")
        return cls(devices, shards=Shards(count, number))

    def resolved(self, config: Config) -> Config:
        """`config` with the number of shards that a run which goes on must have again."""
        if self.shards.count == 1:
            return config
        return dataclasses.replace(config, parallel=dataclasses.replace(config.parallel, shards=self.shards.count))

    def seeds_per_device(self, num_seeds: int) -> int:
        """Agents of which a device holds all or a part."""
        return num_seeds // len(self.devices) if self.over_seeds else num_seeds


def _divide(config: Config, key: str, parts: int, named: str) -> None:
    section, name = key.split(".")
    size = getattr(getattr(config, section), name)
    if size % parts:
        raise ConfigError(f"{key}: {size} does not divide by {named}; the nearest: {_nearest(size, parts)}")


def _nearest(size: int, parts: int) -> str:
    below = size // parts * parts
    return " or ".join(str(number) for number in (below, below + parts) if number)
