"""What a run leaves behind and shows: metrics.jsonl, progress.csv, summary.json, and the live progress line.

Host side only; takes plain numbers. Knows no JAX and no algorithm.
"""

import contextlib
import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sacbrax.atomic import replacing


def plain_number(value: Any) -> Any:
    """A JSON-ready number; None for NaN and infinity, which JSON does not have."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Lines:
    """A text file that grows by whole lines: what a full disk refuses is kept and tried again with the next line."""

    def __init__(self, path: Path, text: str):
        write_atomically(path, text)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._size = len(text.encode())
        self._pending = b""

    def append(self, text: str) -> None:
        """Write `text` and all that is pending. Raises OSError; the file then ends with a whole line as before."""
        self._pending += text.encode()
        rest = memoryview(self._pending)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(self._pending)
        self._pending = b""

    def close(self) -> None:
        os.close(self._descriptor)


class MetricsFiles:
    """Streams one object per evaluation to metrics.jsonl and the same row to progress.csv.

    Both begin with the given rows, whatever they held: the rows of a checkpoint, or none.
    """

    def __init__(self, directory: Path, rows: Iterable[Mapping[str, Any]] = ()):
        rows = list(rows)
        self._directory, self._rows = directory, rows
        self._jsonl = _Lines(directory / "metrics.jsonl", "".join(_json_line(row) for row in rows))
        self._columns = _columns(rows)
        self._csv = _Lines(directory / "progress.csv", _csv_text(rows, self._columns))

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one evaluation of plain numbers. Raises OSError; the row is not lost, the next call writes it too."""
        self._rows.append(row)
        try:
            self._jsonl.append(_json_line(row))
        finally:
            if set(row) <= set(self._columns):
                self._csv.append(_csv_text([row], self._columns, header=False))
            else:  # the first row, or one of a newer release
                columns = _columns(self._rows)
                new = _Lines(self._directory / "progress.csv", _csv_text(self._rows, columns))
                self._csv.close()
                self._csv, self._columns = new, columns

    def flush(self) -> None:
        """Write what is pending. Raises OSError."""
        self._jsonl.append("")
        self._csv.append("")

    def close(self) -> None:
        """Close both files."""
        self._jsonl.close()
        self._csv.close()


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _csv_text(rows: Iterable[Mapping[str, Any]], columns: list[str], header: bool = True) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    if header and columns:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_atomically(path: Path, text: str) -> None:
    """Replace a small text file so that a reader sees the old or the new one, never half."""
    with replacing(path) as file:
        file.write(text)


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
