"""Where the evaluations of a run go: its files always, services as the section `logging` says.

A sink takes rows of plain numbers and knows nothing of training; training hears nothing from it. A service works in a
thread of its own, so that one which is slow or away costs no time, and one that fails warns once and is left out.
"""

import functools
import importlib
import importlib.util
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacbrax.config import Config, ConfigError
from sacbrax.core.errors import one_line
from sacbrax.sinks.console import Reporter
from sacbrax.sinks.files import MetricsFiles

Row = Mapping[str, Any]
# Sink -> its module and class here, the package that it needs, and the extra of ours that brings it.
SERVICES = {
    "tensorboard": ("tensorboard:TensorBoard", "tensorboardX", "tensorboard"),
    "wandb": ("wandb:WeightsAndBiases", "wandb", "wandb"),
    "mlflow": ("mlflow:MLflow", "mlflow", "mlflow"),
    "trackio": ("trackio:Trackio", "trackio", "trackio"),
    "videos": ("videos:Videos", "PIL", "video"),
}
PATIENCE = {"videos": 600.0}  # seconds that the end of a run waits for a service
USUAL_PATIENCE, HURRIED_PATIENCE = 30.0, 5.0


class Service:
    """One service; every method is called in the same thread and may raise whatever it likes."""

    def row(self, row: Row) -> None:
        """Take one evaluation."""

    def video(self, path: Path, env_steps: int) -> None:
        """Take a video of the policy as it was at `env_steps`."""

    def policy(self, path: Path, env_steps: int) -> None:
        """Take the policy file of an evaluation."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run is over; `summary` is the content of summary.json."""

    def abandon(self) -> None:
        """Give up what is under way; called from another thread."""


class Worker:
    """A service in its thread. What it is asked to do is done in order, some time."""

    def __init__(self, name: str, make: Callable[[], Service], reporter: Reporter):
        self._name, self._make, self._reporter = name, make, reporter
        self._jobs: queue.Queue[Callable[[Service], None] | None] = queue.Queue()
        self._service: Service | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether it works and has nothing to do."""
        return self._thread.is_alive() and not self._jobs.unfinished_tasks

    def put(self, job: Callable[[Service], None]) -> None:
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


class Sinks:
    """All sinks of a run. `rows` are the evaluations that it goes on from."""

    def __init__(self, config: Config, directory: Path, rows: Sequence[Row], reporter: Reporter):
        self._reporter, rows = reporter, list(rows)
        self._summary: Mapping[str, Any] = {}
        settings = vars(config.logging)
        settings = settings | {"videos": bool(settings["video_every_evaluations"])}
        wanted = [name for name in SERVICES if settings[name] not in (False, "off")]
        for name in wanted:  # before anything is written
            _check_installed(name)
        self._files = MetricsFiles(directory, rows)
        more = {"videos": (self.video,)}
        self._workers: dict[str, Worker] = {}
        for name in wanted:
            make = functools.partial(_make, name, config, directory, rows, *more.get(name, ()))
            self._workers[name] = Worker(name, make, reporter)
        self._video_every = config.logging.video_every_evaluations

    def row(self, row: Row) -> None:
        """One evaluation, to everyone."""
        with self._reporter.tolerate("a line of the log"):
            self._mend()
            self._files.write(row)
        self._tell(lambda service: service.row(row))
        self._reporter.evaluation(row)

    def wants_policy(self, evaluations: int) -> bool:
        """Whether the policy of this evaluation, counted from 1, is to be drawn."""
        due = self._video_every and evaluations % self._video_every == 0
        return bool(due and self._workers["videos"].idle)

    def policy(self, path: Path, env_steps: int) -> None:
        """The policy file of an evaluation, to be drawn."""
        self._workers["videos"].put(lambda service: service.policy(path, env_steps))

    def video(self, path: Path, env_steps: int) -> None:
        """A new video."""
        self._tell(lambda service: service.video(path, env_steps))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run is over. Raises OSError when the files cannot be completed."""
        self._summary = summary
        self._mend()
        self._files.flush()

    def close(self, hurry: bool = False) -> None:
        """Wait for the services, not for long, and close the files. The last video is told to the others."""
        for name in sorted(self._workers, key=lambda name: name != "videos"):
            patience = HURRIED_PATIENCE if hurry else PATIENCE.get(name, USUAL_PATIENCE)
            if name != "videos":
                self._workers[name].put(lambda service: service.finish(self._summary))
            self._workers[name].close(patience)
        self._files.close()

    def _mend(self) -> None:
        for name in self._files.mend():
            self._reporter.warn(f"somebody removed or changed {name}; every line that is known was written again")

    def _tell(self, job: Callable[[Service], None]) -> None:
        for name, worker in self._workers.items():
            if name != "videos":  # which hears of policies alone: any other job would make it look busy
                worker.put(job)


def _check_installed(name: str) -> None:
    _, package, extra = SERVICES[name]
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"logging.{name}: {package} is not installed; pip install 'sacbrax[{extra}]'")


def _make(name: str, *arguments: Any) -> Service:
    """A service; its module, which may import slowly, is loaded now."""
    module, _, attribute = SERVICES[name][0].partition(":")
    return getattr(importlib.import_module(f"sacbrax.sinks.{module}"), attribute)(*arguments)
