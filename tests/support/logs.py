"""The log of a run, read back."""

import json
from pathlib import Path
from typing import Any


def rows(directory: Path) -> list[dict[str, Any]]:
    """Every line of metrics.jsonl."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def learning(directory: Path) -> list[dict[str, Any]]:
    """The rows without what depends on the clock."""
    return [
        {k: v for k, v in row.items() if k != "wall_seconds" and not k.startswith("time/")} for row in rows(directory)
    ]
