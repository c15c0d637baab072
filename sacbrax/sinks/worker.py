"""A service in a thread of its own: what is slow or away costs no time, and what fails warns once and is left out."""

import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sacbrax.core.errors import one_line
from sacbrax.sinks.console import Reporter

Row = Mapping[str, Any]


class Service:
    """One service; every method is called in the same thread and may raise whatever it likes."""

    def row(self, row: Row) -> None:
        """Take one evaluation."""

    def video(self, path: Path, env_steps: int) -> None:
        """Take a video of the policy as it was at `env_steps`."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run is over; `summary` is the content of summary.json."""

    def abandon(self) -> None:
        """Give up what is under way; called from another thread."""


class Worker:
    """A service, or whatever else has `abandon`, in its thread. What it is asked to do is done in order, some time."""

    def __init__(self, name: str, make: Callable[[], Any], reporter: Reporter):
        self._name, self._make, self._reporter = name, make, reporter
        self._jobs: queue.Queue[Callable[[Any], None] | None] = queue.Queue()
        self._service: Any = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether it works and has nothing to do."""
        return self._thread.is_alive() and not self._jobs.unfinished_tasks

    def put(self, job: Callable[[Any], None]) -> None:
        """Have the service do something."""
        self._jobs.put(job)

    def close(self, patience: float) -> None:
        """Let it finish what it has, for at most `patience` seconds."""
        self._jobs.put(None)
        self._thread.join(patience)
        if self._thread.is_alive():
            self._abandoned = True
            self._reporter.warn(f"logging.{self._name}: not done after {patience:.0f} s, left alone")
            if self._service is not None:
                self._service.abandon()

    def _work(self) -> None:
        try:
            self._service = self._make()
            while (job := self._jobs.get()) is not None:
                job(self._service)
                self._jobs.task_done()
        except Exception as error:
            if not self._abandoned:
                self._reporter.warn(f"logging.{self._name}: {one_line(error)}; training goes on without it")
