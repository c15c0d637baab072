"""The file that says of a run directory that its agents are trials of a sweep, with settings of their own.

Without it they are the seeds of one configuration, as config.yaml and the names in metrics.jsonl have it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sacbrax.core.errors import ConfigError
from sacbrax.core.files import write_atomically

NAME = "trials.json"


def write(directory: Path, trials: Sequence[Mapping[str, Any]]) -> None:
    """Of each trial what it begins with, by configuration key, where they differ. Raises OSError."""
    write_atomically(directory / NAME, json.dumps(list(trials), indent=2) + "\n")


def refuse(run: str | Path) -> None:
    """Raise `ConfigError` for a run directory that is taken for seeds of one configuration, and has trials."""
    if (Path(run) / NAME).is_file():
        raise ConfigError(
            f"{run}: its agents are trials of a sweep with settings of their own ({NAME}), not seeds of one "
            "configuration; the sweep's results.csv ranks them, and the sweep, started again, goes on with them"
        )
