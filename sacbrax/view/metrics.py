"""The evaluations of a run as its metrics.jsonl has them, also while the run still writes.

What a file holds is not taken on trust: a line that is no JSON object is left out, and so is a value that is no number
which a picture can show.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    lines = _content(run).splitlines()
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
    marks = [json.dumps(key).encode() + b": " for key in wanted]
    rows = [row for line in _content(run).splitlines() if (row := _values(line, wanted, marks)) is not None]
    if not rows:
        raise ConfigError(f"{run}: no evaluation in metrics.jsonl yet")
    return dict(zip(wanted, np.array(rows, np.float64).T, strict=True))


def last_row(run: str | Path) -> dict[str, Any] | None:
    """The newest evaluation, at a cost that does not grow with the file; None where there is none yet."""
    try:
        lines = _content(run, TAIL_BYTES).splitlines()
    except ConfigError:
        return None
    return next((row for row in map(_row, reversed(lines)) if row is not None), None)


def _content(run: str | Path, tail: int | None = None) -> bytes:
    try:
        with (Path(run) / "metrics.jsonl").open("rb") as file:
            if tail is not None:
                file.seek(max(0, file.seek(0, 2) - tail))
            return file.read()
    except OSError:
        raise ConfigError(f"{run}: no run directory with a metrics.jsonl") from None


def _row(line: bytes) -> Row | None:
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


def _values(line: bytes, keys: Sequence[str], marks: Sequence[bytes]) -> list[float] | None:
    """The values in a line under `keys`, which are looked for as text; what is not as a run writes it is parsed.

    Without a second brace and an escape, a key between quotes with a colon behind it is nothing but a key of the row.
    """
    if line.endswith(b"}") and line.count(b"{") == 1 and b"\\" not in line:
        values = []
        for mark in marks:
            start = line.rfind(mark) + len(mark)
            if start < len(mark):
                break
            end = line.find(b",", start)
            try:
                value = float(line[start : end if end >= 0 else -1])
            except ValueError:  # null
                break
            if not abs(value) <= LARGEST:
                break
            values.append(value)
        else:
            return values
    row = _row(line)
    return None if row is None else [math.nan if (found := row.get(key)) is None else found for key in keys]
