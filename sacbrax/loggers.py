"""What a run leaves behind and shows: metrics.jsonl, progress.csv, summary.json, and the live progress line.

Host side only; takes plain numbers. Knows no JAX and no algorithm.
"""

import csv
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def plain_number(value: Any) -> Any:
    """A JSON-ready number; None for NaN and infinity, which JSON does not have."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


class MetricsFiles:
    """Streams one object per evaluation to metrics.jsonl and the same row to progress.csv, flushed line by line."""

    def __init__(self, directory: Path):
        self._jsonl = (directory / "metrics.jsonl").open("a", encoding="utf-8")
        self._csv_file = (directory / "progress.csv").open("a", encoding="utf-8", newline="")
        self._csv: csv.DictWriter | None = None

    def write(self, metrics: Mapping[str, Any]) -> None:
        """Append one evaluation."""
        row = {key: plain_number(value) for key, value in metrics.items()}
        if self._csv is None:
            self._csv = csv.DictWriter(self._csv_file, list(row))
            if self._csv_file.tell() == 0:
                self._csv.writeheader()
        self._jsonl.write(json.dumps(row) + "\n")
        self._csv.writerow(row)
        for file in (self._jsonl, self._csv_file):
            file.flush()

    def close(self) -> None:
        """Close both files."""
        self._jsonl.close()
        self._csv_file.close()


def write_atomically(path: Path, text: str) -> None:
    """Replace a small text file so that a reader sees the old or the new one, never half."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Reporter:
    """Lines for the person who waits: a progress bar on a terminal, one plain line per evaluation elsewhere."""

    def __init__(self, total_env_steps: int, quiet: bool = False):
        self._quiet = quiet
        self._console = Console(file=sys.stderr, highlight=False)
        self._progress: Progress | None = None
        if not quiet and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeElapsedColumn(),
                TextColumn("eta"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._progress.add_task("env steps", total=total_env_steps, status="")
            self._progress.start()

    def say(self, line: str) -> None:
        """One line of news."""
        if not self._quiet:
            self._console.print(line, soft_wrap=True, markup=False)

    def evaluation(self, metrics: Mapping[str, Any]) -> None:
        """Show one evaluation."""
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
