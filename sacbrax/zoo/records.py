"""How a policy of the zoo was made, as a JSON file beside it: command, machine, and every seed's curve and return."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sacbrax.core.files import write_atomically
from sacbrax.policy_file.files import PRETRAINED, pretrained


@dataclasses.dataclass(frozen=True)
class Seed:
    """One training run and what its best policy reaches in Gymnasium's own task."""

    seed: int
    seconds: float  # from the start of the process to the end of training, compilation included
    env_steps: int
    gradient_steps: int
    curve: list[list[float]]  # per evaluation: seconds, environment steps, mean return on the engine of training
    return_mean: float  # of the `episodes` of the record
    return_std: float
    return_min: float

    def seconds_to(self, mark: float) -> float | None:
        """When an evaluation's mean first was at the mark; None if none was."""
        return next((seconds for seconds, _, value in self.curve if value >= mark), None)


@dataclasses.dataclass(frozen=True)
class Record:
    """Of all seeds of one task."""

    name: str
    config: str  # as the command line has it
    overrides: list[str]
    commit: str | None
    date: str
    hardware: dict[str, Any]
    versions: dict[str, str]
    engine: str  # where the policy was judged
    episodes: int  # of each seed's evaluation
    shipped: int  # the seed whose policy the zoo has: the best by the evaluations of its training
    seeds: list[Seed]

    @property
    def command(self) -> str:
        """What trained the shipped policy."""
        return " ".join(["python -m sacbrax.train", self.config, *self.overrides, f"train.seed={self.shipped}"])

    @property
    def own(self) -> Seed:
        """The shipped policy's."""
        return next(seed for seed in self.seeds if seed.seed == self.shipped)

    def all_seconds_to(self, mark: float) -> list[float]:
        """When each seed that was at the mark first was."""
        return [seconds for seed in self.seeds if (seconds := seed.seconds_to(mark)) is not None]


def path_of(name: str, folder: Path = PRETRAINED) -> Path:
    """Where the record of a policy is."""
    return folder / f"{name}.json"


def write(record: Record, folder: Path = PRETRAINED) -> None:
    """Beside the policy."""
    text = json.dumps(dataclasses.asdict(record), indent=1)
    write_atomically(path_of(record.name, folder), text + "\n")


def read(name: str, folder: Path = PRETRAINED) -> Record | None:
    """The record of a policy; None of one that has none."""
    try:
        mapping = json.loads(path_of(name, folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Record(**mapping | {"seeds": [Seed(**seed) for seed in mapping["seeds"]]})


def names() -> list[str]:
    """All policies that there are."""
    return list(pretrained())
