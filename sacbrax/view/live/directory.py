"""What the page is told: the runs and sweeps below one directory, their curves, the settings in which they differ.

Only reads. A run is known by the name that the directory gave it, so nothing that is asked for becomes a path. What was
read is kept until the files change.
"""

import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sacbrax.config import Config, ConfigError, flat
from sacbrax.view import curves, runs
from sacbrax.view.metrics import read_metrics

POINTS = 500  # of a curve: rows of a longer run are evenly chosen, which bounds the time and the memory of each
DIGITS = 6

T = TypeVar("T")


class Directory:
    """The runs below `path`; may be asked from several threads."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[Any, Any]] = {}  # what: (stamp of the files, content)
        self._runs: dict[str, Path] = {}

    def listing(self) -> dict[str, Any]:
        """Runs, the newest first, sweeps with their trials, and the names of all metrics."""
        with self._lock:
            run_paths, sweep_paths = runs.find(self.path)
            found = [self._keep(("run", path), runs.stamp(path), self._overview, path) for path in run_paths]
            self._runs = {run.name: run.path for run in found}
            sweeps = [
                self._keep(("sweep", path), runs.stamp(path, "trials.jsonl"), self._sweep, path) for path in sweep_paths
            ]
        names = {name for run in found for name in run.metrics if not name.startswith("seed_")}
        return {
            "directory": str(self.path.resolve()),
            "now": time.time(),
            "runs": [_run(run) for run in sorted(found, key=lambda run: (-run.written, run.name))],
            "sweeps": [self._trials(sweep) for sweep in sweeps],
            "metrics": sorted(names - {"env_steps", "gradient_steps", "wall_seconds"}),
        }

    def run(self, name: str) -> Path | None:
        """The directory of a run that was listed."""
        return self._runs.get(name)

    def curves(self, name: str, metrics: Sequence[str], x: str) -> dict[str, Any] | None:
        """`x` and the values of each metric, null where there is none; None for a run that is not known."""
        path = self.run(name)
        if path is None:
            return None
        with self._lock:
            columns = self._keep(("curves", path), runs.stamp(path), _columns, path)
        return {"x": _numbers(columns.get(x)), "values": {name: _numbers(columns.get(name)) for name in metrics}}

    def settings(self, names: Sequence[str]) -> dict[str, Any]:
        """Keys in which runs differ, with the value of each run as text; of a single run those other than the defaults.

        {"columns": [...], "rows": [[key, value, ...], ...]}
        """
        known = [(name, path) for name in names if (path := self.run(name)) is not None]
        with self._lock:
            found = [(name, self._settings(path)) for name, path in known]
        if len(found) == 1:
            found.append(("default", flat(Config())))
        keys = curves.differing_keys([each for _, each in found])
        rows = [[key, *(curves.in_words(each[key]) if key in each else "" for _, each in found)] for key in keys]
        return {"columns": [name for name, _ in found], "rows": rows}

    def _overview(self, path: Path) -> runs.Run:
        return runs.overview(path, self.path)

    def _sweep(self, path: Path) -> runs.Sweep:
        return runs.read_sweep(path, self.path)

    def _settings(self, path: Path) -> dict[str, Any]:
        return self._keep(("settings", path), runs.stamp(path), curves.read_settings, path)

    def _keep(self, what: Hashable, stamp: Any, read: Callable[[Path], T], path: Path) -> T:
        if what not in self._kept or self._kept[what][0] != stamp:
            self._kept[what] = (stamp, read(path))
        return self._kept[what][1]

    def _trials(self, sweep: runs.Sweep) -> dict[str, Any]:
        """A sweep for the page, the keys that its trials vary, and the run of each that is below the directory."""
        names = {path.resolve(): name for name, path in self._runs.items()}
        trials = [
            {
                "trial": str(trial.get("trial", "")),
                "status": str(trial.get("status", "")),
                "score": _number(trial.get("score")),
                "parameters": {str(key): curves.in_words(value) for key, value in trial["parameters"].items()},
                "run": names.get(Path(str(trial.get("run", ""))).resolve()),
            }
            for trial in sweep.trials
        ]
        return {"name": sweep.name, "trials": trials}


def _run(run: runs.Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "task": run.task,
        "env_steps": run.env_steps,
        "total_env_steps": run.total_env_steps,
        "last": run.last_return,
        "best": run.best_return,
        "written": run.written,
        "state": run.state,
    }


def _columns(run: Path) -> dict[str, list[Any]]:
    """Every value of a run's rows by its name, seeds' own left out: there may be very many."""
    try:
        rows = read_metrics(run, POINTS)
    except ConfigError:
        return {}
    names = dict.fromkeys(key for row in rows for key in row if not key.startswith("seed_"))
    return {name: [row.get(name) for row in rows] for name in names}


def _numbers(column: list[Any] | None) -> list[float | None]:
    return list(map(_number, column or ()))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
