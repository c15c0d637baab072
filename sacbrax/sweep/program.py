"""A program of a sweep: one run directory, in which several trials train side by side, or one trial alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sacbrax.config import Config
from sacbrax.sweep.journal import Row


@dataclass(frozen=True)
class Program:
    """Trials that are trained together: their lines of the journal, their configurations, and where.

    With a pruner there may be fewer `slots` than trials, and `others` are the curves that they are judged among.
    """

    rows: Sequence[Row]
    configs: Sequence[Config]
    directory: Path
    slots: int | None = None
    others: Sequence[Sequence[float]] = ()

    @property
    def first(self) -> int:
        """Number of its first trial."""
        number: int = self.rows[0]["trial"]
        return number
