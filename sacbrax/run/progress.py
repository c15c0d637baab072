"""The host's share of a run's state: how far it is, what it has logged, and its clocks."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from sacbrax.core.numbers import plain_number


@dataclasses.dataclass
class Progress:
    """What the host knows of a run; with the training state it is all that a run goes on from."""

    iteration: int = 0  # vector steps taken
    evaluated: int | None = None  # iteration of the last evaluation
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # every evaluation, as in metrics.jsonl
    best_return: float = -math.inf
    best_by_seed: list[float] = dataclasses.field(default_factory=list)  # with several seeds
    epoch_seconds: float = 0.0  # of training since the last evaluation
    # Of the whole run, in however many processes:
    train_seconds: float = 0.0  # of training, without compilation and evaluation
    compile_seconds: float = 0.0
    checkpoint_seconds: float = 0.0  # that training waited
    wall_seconds: float = 0.0

    def to_notes(self) -> dict[str, Any]:
        """Ready for JSON."""
        best = {
            "best_return": plain_number(self.best_return),
            "best_by_seed": [plain_number(value) for value in self.best_by_seed],
        }
        return vars(self) | {"rows": list(self.rows)} | best

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> "Progress":
        """From a checkpoint's notes, of which nothing is taken on trust. Raises ValueError."""
        # What older releases did not have.
        notes = {"best_by_seed": [], "compile_seconds": 0.0, "checkpoint_seconds": 0.0, **notes}
        values = {field.name: notes[field.name] for field in dataclasses.fields(cls)}
        if values["best_return"] is None:
            values["best_return"] = -math.inf
        if not isinstance(values["best_by_seed"], list):
            raise ValueError("the best returns of the seeds are no list")
        values["best_by_seed"] = [-math.inf if value is None else value for value in values["best_by_seed"]]
        counts = [values["iteration"], 0 if values["evaluated"] is None else values["evaluated"]]
        clocks = ("epoch_seconds", "train_seconds", "compile_seconds", "checkpoint_seconds", "wall_seconds")
        numbers = [values[name] for name in ("best_return", *clocks)]
        numbers += values["best_by_seed"]
        if not all(type(count) is int and 0 <= count < 2**31 for count in counts):
            raise ValueError("a count is not one")
        if not all(type(number) in (int, float) for number in numbers):
            raise ValueError("a number is not one")
        rows = values["rows"]
        plain = (int, float, type(None))
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("the evaluations are not rows")
        if not all(isinstance(value, plain) for row in rows for value in row.values()):
            raise ValueError("an evaluation holds more than numbers")
        return cls(**values)
