"""The evaluations of a run as its metrics.jsonl has them, also while the run still writes.

What a file holds is not taken on trust: a line that is no JSON object is left out, and so is a value that is no number
which a picture can show.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from sacbrax.config import ConfigError

RETURN = "eval/return_mean"
STEPS = "env_steps"
LARGEST = 3.4e38  # of float32
TAIL_BYTES = 2**18  # of the end of the file, in which the last row is looked for

Row = dict[str, float | None]


def read_metrics(run: str | Path, most: int | None = None) -> list[dict[str, Any]]:
    """Every evaluation of a run, oldest first; of more than `most`, that many, evenly spread, the first and the last
    among them. Raises ConfigError where there is none."""
    with _open(run) as file:
        lines = list(file)
    if most is not None and len(lines) > most:
        last = len(lines) - 1
        lines = [lines[round(i * last / (most - 1))] for i in range(most)]
    rows = [row for row in map(_row, lines) if row is not None]
    if not rows:
        raise ConfigError(f"{run}: no evaluation in metrics.jsonl yet")
    return rows


def read_columns(run: str | Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Values [evaluations] under some keys alone, NaN where a row has none: much sooner than whole rows.

    Raises ConfigError where there is no evaluation.
    """
    wanted = list(dict.fromkeys([STEPS, RETURN, *keys]))
    marks = [f"{json.dumps(key)}: " for key in wanted]
    with _open(run) as file:
        rows = [values for line in file if (values := _numbers(line, marks) or _parsed(line, wanted)) is not None]
    if not rows:
        raise ConfigError(f"{run}: no evaluation in metrics.jsonl yet")
    return dict(zip(wanted, np.array(rows, np.float64).T, strict=True))


def last_row(run: str | Path) -> dict[str, Any] | None:
    """The newest evaluation, at a cost that does not grow with the file; None where there is none yet."""
    try:
        with (Path(run) / "metrics.jsonl").open("rb") as file:
            size, tail, row = file.seek(0, 2), TAIL_BYTES, None
            while row is None:  # of many seeds a row is longer than that
                file.seek(max(0, size - tail))
                lines = file.read().decode(errors="replace").split("\n")
                row = next((row for row in map(_row, reversed(lines)) if row is not None), None)
                if tail >= size:
                    break
                tail *= 8
    except OSError:
        return None
    return row


def _open(run: str | Path) -> TextIO:
    try:
        return (Path(run) / "metrics.jsonl").open(encoding="utf-8", errors="replace", newline="\n")
    except OSError:
        raise ConfigError(f"{run}: no run directory with a metrics.jsonl") from None


def _row(line: str) -> Row | None:
    """The row in a line; None for one that is half written, or without a step and a return."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    row = {key: _drawable(value) for key, value in row.items()}
    return None if row.get(STEPS) is None or row.get(RETURN) is None else row


def _drawable(value: Any) -> float | None:
    """A number that a picture can show; None for what is none, is not finite, or is beyond float32."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and abs(value) <= LARGEST else None


def _parsed(line: str, keys: Sequence[str]) -> list[float] | None:
    row = _row(line)
    return None if row is None else [math.nan if (value := row.get(key)) is None else value for key in keys]


def _numbers(line: str, marks: Sequence[str]) -> list[float] | None:
    """The numbers behind `marks` in a line, looked for as text; None where one is not as a run writes numbers.

    Without an escape and a second brace, a key between quotes with a colon behind it is a key of the row.
    """
    if not line.endswith("}\n") or line.count("{") != 1 or "\\" in line:
        return None
    values = []
    for mark in marks:
        start = line.find(mark) + len(mark)
        if start < len(mark):
            return None
        comma = line.find(",", start)
        try:
            value = float(line[start : comma if comma >= 0 else -2])
        except ValueError:  # null
            return None
        if not abs(value) <= LARGEST:
            return None
        values.append(value)
    return values
