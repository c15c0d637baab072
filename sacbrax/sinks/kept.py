"""What a run directory keeps of a service, in the file SERVICE_id: by what name it knows the run, and the last step
that it was told, so that it gets what it missed, switched off or away, and nothing twice."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from sacbrax.core.files import write_atomically
from sacbrax.sinks.worker import Row


class Kept:
    """The file of one service. `name` is None before `keep`; `rows` are those that the run goes on from."""

    def __init__(self, directory: Path, service: str, rows: Sequence[Row]):
        self._place = directory / f"{service}_id"
        self.name: str | None = None
        self.sent = -1  # env steps
        with contextlib.suppress(FileNotFoundError):
            name, space, sent = self._place.read_text(encoding="utf-8").strip().rpartition(" ")
            # Older releases wrote the name alone, when all rows were told.
            self.name, self.sent = (name, int(sent)) if space else (sent, rows[-1]["env_steps"] if rows else -1)

    def has(self, row: Row) -> bool:
        """Whether the service was told this row: a run that goes on from a checkpoint has some a second time."""
        return bool(row["env_steps"] <= self.sent)

    def keep(self, name: str, sent: int) -> None:
        """Write both, once the service has what it is told."""
        self.name, self.sent = name, sent
        write_atomically(self._place, f"{name} {sent}\n")
