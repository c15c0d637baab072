"""Runs side by side: last and best return with intervals, what it took to come to a mark, settings that differ.

Runs that differ only in the seed are one line. Reads metrics.jsonl and config.yaml; knows no JAX.
"""

import dataclasses
import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax.core import interquartile
from sacbrax.core.errors import ConfigError
from sacbrax.view import curves
from sacbrax.view.metrics import RETURN, STEPS, read_columns
from sacbrax.view.tables import STYLE, Table, csv_text

LONGEST_LABEL = 40
SECONDS = "wall_seconds"
INTERVALS = (
    "[ ]: 95 % bootstrap interval of the mean over seeds; of a single seed one standard deviation over its episodes."
)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the ends of its interval, NaN where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        known = math.isfinite(self.low) and math.isfinite(self.high)
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]" if known else f"{self.value:.1f}"


@dataclasses.dataclass(frozen=True)
class Mark:
    """What the seeds took to a return: median over all of them, infinite where half or more did not come there."""

    seeds: int  # that came there
    env_steps: float
    wall_seconds: float  # compilation included


@dataclasses.dataclass(frozen=True)
class Asked:
    """What else is to be told of every configuration."""

    mark: float | None = None  # a return: when it was reached
    steps: int | None = None  # environment steps: the return that was there by then
    seconds: float | None = None  # wall time, likewise

    def note(self) -> str:
        """What its columns are."""
        parts = [] if self.mark is None else [f"To a return of {self.mark:g}: medians over all seeds."]
        if self.steps is not None or self.seconds is not None:
            parts.append("At: interquartile mean of the seeds' newest evaluations by then, and its 95 % interval.")
        return " ".join(parts)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One configuration."""

    label: str
    task: str
    runs: list[str]
    seeds: int
    env_steps: int  # of the shortest run
    wall_seconds: float  # mean over the runs
    final: Estimate
    best: Estimate  # of each seed's own best evaluation
    mark: Mark | None
    at_steps: Estimate | None
    at_seconds: Estimate | None
    settings: dict[str, Any]


def groups(runs: Sequence[str]) -> list[curves.Group]:
    """Runs by configuration, under names that fit into a table: where much differs, the first run's own."""
    found = curves.group_runs(runs)
    return [
        dataclasses.replace(group, label=Path(group.runs[0]).name) if len(group.label) > LONGEST_LABEL else group
        for group in found
    ]


def compare(groups: Sequence[curves.Group], asked: Asked = Asked()) -> list[Entry]:
    """One entry for each configuration, by task, the best last return first. Raises ConfigError."""
    entries = [_entry(group, asked) for group in groups]
    return sorted(entries, key=lambda entry: (entry.task, -entry.final.value))


def _entry(group: curves.Group, asked: Asked) -> Entry:
    traces, ends, each = [], [], []
    for run in group.runs:
        found, end = _traces(run)
        traces += found
        ends.append(end)
        each += [end] * len(found)
    if not all(len(trace) for trace in traces):
        raise ConfigError(f"{', '.join(group.runs)}: a seed without an evaluation")
    reached = None
    if asked.mark is not None:
        first = np.array([_first_at(trace, asked.mark) for trace in traces])
        count = int(np.isfinite(first[:, 0]).sum())
        reached = Mark(count, *(float(np.median(column)) for column in first.T))
    steps, seconds = np.array(ends).T
    return Entry(
        group.label,
        group.task,
        group.runs,
        len(traces),
        int(steps.min()),
        float(seconds.mean()),
        _estimate([trace[-1] for trace in traces]),
        _estimate([trace[trace[:, 0].argmax()] for trace in traces]),
        reached,
        _by(traces, each, 0, asked.steps),
        _by(traces, each, 1, asked.seconds),
        group.settings,
    )


def _traces(run: str) -> tuple[list[np.ndarray], tuple[float, float]]:
    """Of every seed its evaluations [T, 4]: return, its standard deviation over episodes, environment steps and wall
    time; and the steps and the time at the run's end."""
    names = curves.seed_names(run, RETURN)
    keys = [(name, name.replace("return_mean", "return_std"), STEPS, SECONDS) for name in names]
    columns = read_columns(run, sorted({key for own in keys for key in own}))
    tables = [np.stack([columns[key] for key in own], axis=1) for own in keys]
    return [table[np.isfinite(table[:, 0])] for table in tables], (columns[STEPS][-1], columns[SECONDS][-1])


def _first_at(trace: np.ndarray, mark: float) -> tuple[float, float]:
    """Env steps and wall time of the first evaluation at the mark."""
    there = np.flatnonzero(trace[:, 0] >= mark)
    return (trace[there[0], 2], trace[there[0], 3]) if len(there) else (math.inf, math.inf)


def _by(traces: list[np.ndarray], ends: list[tuple[float, float]], which: int, limit: float | None) -> Estimate | None:
    """Over seeds, what each one's newest evaluation by so many steps (`which` 0) or seconds (1) says; NaN where a run
    is shorter, or had no evaluation by then."""
    if limit is None:
        return None
    values = []
    for trace, end in zip(traces, ends, strict=True):
        known = np.count_nonzero(trace[:, 2 + which] <= limit)
        values.append(trace[known - 1, 0] if known and end[which] >= limit else math.nan)
    low, high = interquartile.interquartile_interval(values) if len(values) > 1 else (math.nan, math.nan)
    return Estimate(float(interquartile.interquartile_mean(values)), low, high)


def _estimate(evaluations: list[np.ndarray]) -> Estimate:
    values = np.array([evaluation[0] for evaluation in evaluations])
    if len(values) > 1:
        low, high = curves.interval(values)
    else:
        low, high = values[0] - evaluations[0][1], values[0] + evaluations[0][1]
    return Estimate(float(values.mean()), float(low), float(high))


def result_table(entries: Sequence[Entry], asked: Asked) -> Table:
    """The results, for readers."""
    several = len({entry.task for entry in entries}) > 1
    marked = ["reached", "env steps to it", "seconds to it"] if asked.mark is not None else []
    marked += [f"at {asked.steps:,} env steps"] if asked.steps is not None else []
    marked += [f"at {asked.seconds:,g} s"] if asked.seconds is not None else []
    names = ["", *(["task"] if several else []), "configuration", "seeds", "env steps", "wall time", "last return"]
    names += ["best return", *marked]
    rows = []
    for number, entry in enumerate(entries, start=1):
        cells = [str(number), *([entry.task] if several else []), entry.label, str(entry.seeds), f"{entry.env_steps:,}"]
        cells += [f"{entry.wall_seconds:,.1f} s", str(entry.final), str(entry.best)]
        if entry.mark is not None:
            cells.append(f"{entry.mark.seeds} of {entry.seeds}")
            cells += [_finite(entry.mark.env_steps, ",.0f"), _finite(entry.mark.wall_seconds, ",.1f")]
        then = [estimate for estimate in (entry.at_steps, entry.at_seconds) if estimate is not None]
        cells += ["shorter" if math.isnan(estimate.value) else str(estimate) for estimate in then]
        rows.append(cells)
    return Table(names, rows, frozenset(names) - {"task", "configuration"})


def _finite(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "not reached"


def settings_table(entries: Sequence[Entry]) -> Table:
    """Keys in which the configurations differ, a column for each configuration; no rows where none does."""
    keys = curves.differing_keys([entry.settings for entry in entries])
    rows = [[key, *(_setting(entry, key) for entry in entries)] for key in keys]
    return Table(["key", *(str(i + 1) for i in range(len(entries)))], rows)


def _setting(entry: Entry, key: str) -> str:
    return curves.in_words(entry.settings[key]) if key in entry.settings else "not known"


def text(entries: Sequence[Entry], asked: Asked) -> str:
    """All of it for a terminal."""
    parts = [result_table(entries, asked).text(), INTERVALS + "\n"]
    if note := asked.note():
        parts.append(f"{note}\n")
    settings = settings_table(entries)
    if settings.rows:
        parts += ["\nSettings that differ:\n", settings.text()]
    return "".join(parts)


def csv(entries: Sequence[Entry]) -> str:
    """One line for each configuration, numbers as they are, settings that differ at the end."""
    keys = curves.differing_keys([entry.settings for entry in entries])
    names = ["task", "configuration", "seeds", "env_steps", "wall_seconds"]
    ends = ("", "_low", "_high")
    names += [f"{kind}{end}" for kind in ("last", "best", "at_steps", "at_seconds") for end in ends]
    names += ["reached", "env_steps_to_mark", "seconds_to_mark", *keys, "runs"]
    rows = []
    for entry in entries:
        each = (entry.final, entry.best, entry.at_steps, entry.at_seconds)
        estimates = [number for one in each for number in ((None,) * 3 if one is None else dataclasses.astuple(one))]
        marked = [None] * 3 if entry.mark is None else dataclasses.astuple(entry.mark)
        cells = [entry.task, entry.label, entry.seeds, entry.env_steps, entry.wall_seconds, *estimates, *marked]
        rows.append([*map(_known, cells), *(entry.settings.get(key) for key in keys), " ".join(entry.runs)])
    return csv_text(names, rows)


def _known(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def page(entries: Sequence[Entry], asked: Asked, picture: str) -> str:
    """A page of its own that loads nothing; `picture` is the curves as an <svg>."""
    settings = settings_table(entries)
    differing = settings.html() if settings.rows else "<p>None.</p>"
    title = html.escape(f"{len(entries)} configurations, {sum(entry.seeds for entry in entries)} seeds")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>
<body><h1>{title}</h1>
{result_table(entries, asked).html()}<p>{INTERVALS} {asked.note()}</p>
<h2>Learning</h2>
<div class="wide">{picture}</div>
<h2>Settings that differ</h2>
{differing}
</body></html>
"""
