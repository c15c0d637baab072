"""The evaluations of a run as its metrics.jsonl has them, also while the run still writes.

What a file holds is not taken on trust: a line that is no JSON object is left out.
"""

import json
from pathlib import Path
from typing import Any

from sacbrax.config import ConfigError

RETURN = "eval/return_mean"
TAIL_BYTES = 2**18  # of the end of the file, in which the last row is looked for

Row = dict[str, Any]


def read_metrics(run: str | Path, most: int | None = None) -> list[Row]:
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


def last_row(run: str | Path) -> Row | None:
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
    numbers = isinstance(row, dict) and all(isinstance(row.get(key), int | float) for key in ("env_steps", RETURN))
    return row if numbers else None
