"""Lines for the person who waits for a run. Host side only; takes plain numbers."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sacbrax.core.streams import standard_error


class Reporter:
    """Lines for the person who waits: a progress bar on a terminal, one plain line per evaluation elsewhere."""

    def __init__(self, total_env_steps: int, quiet: bool = False):
        self._quiet = quiet
        self._console = Console(file=standard_error(), highlight=False)
        self._progress: Progress | None = None
        if not quiet and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TextColumn("{task.fields[memory]}"),
                TimeElapsedColumn(),
                TextColumn("eta"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._progress.add_task("env steps", total=total_env_steps, status="", memory="")
            self._progress.start()

    def say(self, line: str) -> None:
        """One line of news."""
        if not self._quiet:
            self._console.print(line, soft_wrap=True, markup=False)

    def warn(self, line: str) -> None:
        """One line that is shown even to who wants quiet."""
        self._console.print(f"warning: {line}", soft_wrap=True, markup=False)

    @contextlib.contextmanager
    def tolerate(self, what: str) -> Iterator[None]:
        """A disk's refusal to take `what` becomes a warning."""
        try:
            yield
        except OSError as error:
            self.warn(f"{what} could not be written: {error.strerror}; training goes on")

    def progress(self, env_steps: int, memory: Callable[[], str]) -> None:
        """Move the bar; `memory` says what is in use."""
        if self._progress is not None:
            self._progress.update(self._task, completed=env_steps, memory=memory())

    def evaluation(self, metrics: Mapping[str, Any]) -> None:
        """Show one evaluation."""
        metrics = {key: math.nan if value is None else value for key, value in metrics.items()}
        status = (
            f"return {metrics['eval/return_mean']:7.1f} ± {metrics['eval/return_std']:.1f}  "
            f"{metrics['time/env_steps_per_second']:,.0f} env steps/s  "
            f"{metrics['time/gradient_steps_per_second']:,.0f} updates/s"
        )
        if self._progress is not None:
            self._progress.update(self._task, completed=metrics["env_steps"], status=status)
        self.say(
            f"{metrics['wall_seconds']:7.1f} s  {metrics['env_steps']:>12,} env steps  "
            f"{metrics['gradient_steps']:>9,} updates  {status}"
        )

    def close(self) -> None:
        """Take the progress bar down."""
        if self._progress is not None:
            self._progress.stop()
