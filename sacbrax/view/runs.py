"""Runs and sweeps below a directory, and what can be said of each at a glance, however long its files are."""

import dataclasses
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from sacbrax import config as config_lib
from sacbrax.config import ConfigError
from sacbrax.view.curves import read_settings
from sacbrax.view.metrics import RETURN, last_row

LARGEST_FILE = 2**24  # bytes of a summary or a journal that are read


@dataclasses.dataclass(frozen=True)
class Run:
    """One run directory."""

    path: Path
    name: str  # below the directory that was searched
    task: str  # empty where config.yaml cannot be read
    env_steps: int
    total_env_steps: int | None
    last_return: float | None
    best_return: float | None
    written: float  # seconds since 1970 of the last evaluation
    state: str  # done, interrupted or open: still training, or ended without a word
    metrics: tuple[str, ...]  # what the last row has


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One sweep directory: its trials as the journal has them, in their order."""

    path: Path
    name: str
    trials: list[dict[str, Any]]


def find(directory: Path) -> tuple[list[Path], list[Path]]:
    """Run directories and sweep directories at `directory` and below. Links and hidden folders are not followed."""
    runs, sweeps = [], []
    for folder, folders, files in os.walk(directory):
        if "config.yaml" in files and ("metrics.jsonl" in files or "checkpoints" in folders):
            runs.append(Path(folder))
            folders.clear()
        elif "trials.jsonl" in files:
            sweeps.append(Path(folder))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return runs, sweeps


def stamp(folder: Path, *names: str) -> tuple[float, ...]:
    """A value that differs when these files have changed, by default those of a run."""
    found = []
    for name in names or ("metrics.jsonl", "summary.json", "config.yaml"):
        try:
            status = (folder / name).stat()
            found += [status.st_mtime, float(status.st_size)]
        except OSError:
            found += [0.0, 0.0]
    return tuple(found)


def overview(path: Path, directory: Path) -> Run:
    """What a run's files say, whatever they hold."""
    settings, row, summary = read_settings(path), last_row(path) or {}, _json(path / "summary.json")
    steps, total = int(row.get("env_steps", 0)), settings.get("train.total_env_steps")
    state = "interrupted" if summary.get("interrupted") is True else "open"
    return Run(
        path,
        path.relative_to(directory).as_posix() if path != directory else path.resolve().name,
        str(settings.get("env.name", "")),
        steps,
        total,
        _finite(row.get(RETURN)),
        _finite(summary.get("best_return")),
        stamp(path)[0],
        "done" if total is not None and steps >= total else state,
        tuple(row),
    )


def read_sweep(path: Path, directory: Path) -> Sweep:
    """The journal of a sweep; lines that are none are left out."""
    trials = []
    for line in _text(path / "trials.jsonl").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("parameters"), dict):
            trials.append(row)
    name = path.relative_to(directory).as_posix() if path != directory else path.resolve().name
    return Sweep(path, name, trials)


def portable_config(run: Path) -> str | None:
    """config.yaml without the places of this run, which are nobody else's; None where there is none to read.

    Of the files that a run starts from and that lie at a path of its machine the names stay, and a comment says so.
    """
    try:
        config = config_lib.load(run / "config.yaml")
    except ConfigError:
        return None
    parts = {"init.from": config.init.from_, "replay.prior": config.replay.prior}
    here = {key: Path(place).name for key, place in parts.items() if place and Path(place).is_absolute()}
    config = dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, dir=None),
        checkpoint=dataclasses.replace(config.checkpoint, mirror=None),
        init=dataclasses.replace(config.init, from_=here.get("init.from", config.init.from_)),
        replay=dataclasses.replace(config.replay, prior=here.get("replay.prior", config.replay.prior)),
    )
    notes = [f"# {key} is a file of the machine that trained; say where yours lies\n" for key in here]
    return "".join(notes) + config.to_yaml()


def age(run: Run) -> str:
    """How long ago the last evaluation was written, in a word or two."""
    seconds = max(0.0, time.time() - run.written)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(LARGEST_FILE)
    except OSError:
        return ""


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
