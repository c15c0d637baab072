"""Where the evaluations of a run go: its files always, services as the section `logging` says.

A sink takes rows of plain numbers and knows nothing of training; training hears nothing from it. Videos are made here
as well, from policy files, and told to the services.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacbrax.config import Config
from sacbrax.core.errors import MachineError
from sacbrax.sinks.console import Reporter
from sacbrax.sinks.files import MetricsFiles
from sacbrax.sinks.worker import Row, Service, Worker

__all__ = ["Row", "Service", "Sinks", "Worker"]

# Sink -> its module and class here, the package that it needs, and the extra of ours that brings it.
SERVICES = {
    "tensorboard": ("tensorboard:TensorBoard", "tensorboardX", "tensorboard"),
    "wandb": ("wandb:WeightsAndBiases", "wandb", "wandb"),
    "mlflow": ("mlflow:MLflow", "mlflow", "mlflow"),
    "trackio": ("trackio:Trackio", "trackio", "trackio"),
}
VIDEOS = ("videos:Videos", "PIL", "video")
PATIENCE, HURRIED_PATIENCE, VIDEO_PATIENCE = 30.0, 5.0, 600.0  # seconds that the end of a run waits


class Sinks:
    """All sinks of a run. `rows` are the evaluations that it goes on from, None where it begins, also once more."""

    def __init__(self, config: Config, directory: Path, rows: Sequence[Row] | None, reporter: Reporter):
        self._reporter, begins, rows = reporter, rows is None, list(rows or ())
        self._summary: Mapping[str, Any] = {}
        self._video_every = config.logging.video_every_evaluations
        settings = vars(config.logging)
        wanted = {name: row for name, row in SERVICES.items() if settings[name] not in (False, "off")}
        drawing = {"videos": VIDEOS} if self._video_every else {}
        for name, row in (wanted | drawing).items():  # before anything is written
            _check_installed(name, row)
        if begins:
            _forget(directory)
        self._files = MetricsFiles(directory, rows)

        def start(name: str, path: str, *more: Any) -> Worker:
            return Worker(name, functools.partial(_make, path, config, directory, *more), reporter)

        self._services = [start(name, path, rows) for name, (path, _, _) in wanted.items()]
        self._videos = start("videos", VIDEOS[0], self.video) if drawing else None

    def row(self, row: Row) -> None:
        """One evaluation, to everyone."""
        with self._reporter.tolerate("a line of the log"):
            self._mend()
            self._files.write(row)
        self._tell(lambda service: service.row(row))
        self._reporter.evaluation(row)

    def wants_policy(self, evaluations: int) -> bool:
        """Whether the policy of this evaluation, counted from 1, is to be drawn."""
        return self._videos is not None and evaluations % self._video_every == 0 and self._videos.idle

    def policy(self, path: Path, env_steps: int) -> None:
        """The policy file of an evaluation that is wanted, to be drawn."""
        if self._videos is not None:
            self._videos.put(lambda videos: videos.policy(path, env_steps))

    def video(self, path: Path, env_steps: int) -> None:
        """A new video."""
        self._tell(lambda service: service.video(path, env_steps))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run is over. Raises OSError when the files cannot be completed."""
        self._summary = summary
        self._mend()
        self._files.flush()

    def close(self, hurry: bool = False) -> None:
        """Wait for the services, not for long, and close the files. The last video is told to them."""
        if self._videos is not None:
            self._videos.close(HURRIED_PATIENCE if hurry else VIDEO_PATIENCE)
        self._tell(lambda service: service.finish(self._summary))
        for worker in self._services:
            worker.close(HURRIED_PATIENCE if hurry else PATIENCE)
        self._files.close()

    def _mend(self) -> None:
        for name in self._files.mend():
            self._reporter.warn(f"somebody removed or changed {name}; every line that is known was written again")

    def _tell(self, job: Callable[[Service], None]) -> None:
        for worker in self._services:
            worker.put(job)


def _forget(directory: Path) -> None:
    """Have the services take a run that begins for a new one, as metrics.jsonl does: one that was killed before it
    could save may have been here, with other settings."""
    for path in [*(directory / f"{name}_id" for name in SERVICES), *directory.glob("tensorboard/events.*")]:
        path.unlink(missing_ok=True)


def _check_installed(name: str, row: tuple[str, str, str]) -> None:
    _, package, extra = row
    if importlib.util.find_spec(package) is None:
        raise MachineError(f"logging.{name}: {package} is not installed; pip install 'sacbrax[{extra}]'")


def _make(path: str, *arguments: Any) -> Any:
    """What works in a thread; its module, which may import slowly, is loaded now."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(f"sacbrax.sinks.{module}"), attribute)(*arguments)
