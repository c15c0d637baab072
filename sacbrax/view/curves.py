"""Learning curves: runs read from their files, seeds of one configuration gathered, several configurations compared.

Needs nothing of a run but metrics.jsonl and config.yaml. Knows no JAX.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax import config as config_lib
from sacbrax.config import ConfigError, flat
from sacbrax.core.interquartile import CONFIDENCE, REPETITIONS
from sacbrax.view.metrics import RETURN, read_metrics

UNRELATED = ("run.", "logging.", "checkpoint.", "train.seed", "train.num_seeds")  # to what a run learns, but for chance
AXES = {"env_steps": "environment steps", "gradient_steps": "gradient steps", "wall_seconds": "wall time"}
MARKED = 40  # up to so many evaluations each is a dot


@dataclasses.dataclass(frozen=True)
class Curve:
    """One line of a plot: one configuration, trained with one or more seeds."""

    label: str
    x: dict[str, np.ndarray]  # of each of AXES, [T]
    values: np.ndarray  # [S, T], by seed
    spread: np.ndarray | None  # [T] standard deviation over episodes, where one seed measured the return
    task: str = ""

    def centre(self) -> np.ndarray:
        """Mean over the seeds, [T]."""
        return self.values.mean(axis=0)

    def band(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Ends [T] of the interval around the centre: 95 % for the mean over seeds, by bootstrap; of a single seed one
        standard deviation over episodes."""
        if len(self.values) > 1:
            return interval(self.values)
        return None if self.spread is None else (self.values[0] - self.spread, self.values[0] + self.spread)


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs whose configurations differ in nothing but the seed."""

    runs: list[str]
    label: str  # what sets the configuration apart from the other groups'
    task: str
    settings: dict[str, Any]  # {"section.key": value} of the first run


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends [...] of the 95 % interval for the mean over seeds of values [S, ...], by bootstrap."""
    seeds = len(values)
    drawn = np.random.default_rng(0).integers(seeds, size=(REPETITIONS, seeds))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values[drawn].mean(axis=1), [tail, 1 - tail], axis=0)
    return low, high


def read_settings(run: str | Path) -> dict[str, Any]:
    """{"section.key": value} of a run's config.yaml; nothing where there is none that this release can read."""
    try:
        return flat(config_lib.load(Path(run) / "config.yaml"))
    except ConfigError:
        return {}


def gather(runs: Sequence[str | Path], metric: str = RETURN) -> list[Curve]:
    """Curves of runs; those whose configurations differ in nothing but the seed become one. Raises ConfigError."""
    return [curve_of(group, metric) for group in group_runs(runs)]


def group_runs(runs: Sequence[str | Path]) -> list[Group]:
    """Runs by configuration; a seed that comes again is a group of its own."""
    settings = {str(run): read_settings(run) for run in runs}
    groups: dict[str, list[str]] = {}
    for run in settings:
        related = {key: value for key, value in settings[run].items() if not key.startswith(UNRELATED)}
        members = groups.setdefault(repr(related) if related else run, [])
        if settings[run].get("train.seed") in [settings[member].get("train.seed") for member in members]:
            groups[run] = [run]  # the same again
        else:
            members.append(run)
    found = [(members, settings[members[0]]) for members in groups.values()]
    tasks = [str(mapping.get("env.name", "")) for _, mapping in found]
    labels: dict[str, str] = {}  # of a group by its first run
    for task in dict.fromkeys(tasks):
        same = [group for group, other in zip(found, tasks, strict=True) if other == task]
        labels |= zip((members[0] for members, _ in same), _labels(same), strict=True)
    return [
        Group(members, labels[members[0]], task, mapping) for (members, mapping), task in zip(found, tasks, strict=True)
    ]


def differing_keys(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Keys in which configurations differ, but for what a run does not learn from; an empty one is not known."""
    keys = dict.fromkeys(key for each in settings for key in each if not key.startswith(UNRELATED))
    return [key for key in keys if len({repr(each.get(key)) for each in settings if each}) > 1]


def _labels(groups: list[tuple[list[str], dict[str, Any]]]) -> list[str]:
    """What sets each group's configuration apart from the others'; the directory's name where that is nothing."""
    differing = differing_keys([settings for _, settings in groups])
    short = {key: key.rpartition(".")[2] for key in differing}
    for key, name in short.items():
        if list(short.values()).count(name) > 1:
            short = short | {key: key}
    labels = []
    for members, settings in groups:
        parts = [f"{short[key]}={show(settings[key])}" for key in differing if key in settings]
        labels.append(", ".join(parts) or Path(members[0]).name or members[0])
    return labels


def show(value: Any) -> str:
    """A setting for a reader."""
    if isinstance(value, dict) and {"values", "boundaries"} <= set(value):  # a schedule
        turns = ["", *(f" to {boundary:,}: " for boundary in value["boundaries"])]
        return "".join(turn + show(number) for turn, number in zip(turns, value["values"], strict=True))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def seed_names(rows: Sequence[dict[str, Any]], metric: str) -> list[str]:
    """The keys under which the seeds of a run have their own values of a metric; the metric itself of one seed."""
    return sorted({key for row in rows for key in row if _seed_key(key, metric)}, key=_seed_number) or [metric]


def curve_of(group: Group, metric: str = RETURN) -> Curve:
    """The seeds of some runs at the environment steps where all of them have a value. Raises ConfigError."""
    seeds, tables = [], []
    for run in group.runs:
        table = {row["env_steps"]: row for row in read_metrics(run) if row.get(metric) is not None}
        if not table:
            raise ConfigError(f"--metric: {run} has no {metric!r}")
        tables.append(table)
        seeds += [(table, name) for name in seed_names(list(table.values()), metric)]
    steps = sorted(set.intersection(*(set(table) for table in tables)))
    if not steps:
        raise ConfigError(f"{', '.join(group.runs)}: no environment step at which all were evaluated")

    def column(table: dict[int, dict[str, Any]], name: str) -> list[float]:
        return [math.nan if (value := table[step].get(name)) is None else value for step in steps]

    x = {name: np.mean([column(table, name) for table in tables], axis=0) for name in AXES}
    values = np.array([column(table, name) for table, name in seeds], np.float64)
    single = len(values) == 1 and metric == RETURN
    spread = np.nan_to_num(np.array(column(tables[0], "eval/return_std"))) if single else None
    label = group.label if len(values) == 1 else f"{group.label} ({len(values)} seeds)"
    return Curve(label, x, values, spread, group.task)


def _seed_number(key: str) -> int:
    return int(key.partition("/")[0].removeprefix("seed_"))


def _seed_key(key: str, metric: str) -> bool:
    """Whether a key is one seed's own value of the metric, such as seed_3/eval/return_mean."""
    first, _, rest = key.partition("/")
    return rest == metric and first.startswith("seed_") and first[5:].isdigit()


def draw(
    plt: Any, curves: Sequence[Curve], metric: str = RETURN, title: str = "", x: Sequence[str] = tuple(AXES)
) -> Any:
    """A figure with one panel for each of `x`, of AXES. Those of one task stand side by side; several tasks are a
    column each, with a scale of its own."""
    tasks = list(dict.fromkeys(curve.task for curve in curves))
    single = len(tasks) == 1
    rows, columns = (1, len(x)) if single else (len(x), len(tasks))
    size, share = (max(4 * columns, 6), 3.8 * rows), "row" if single else "col"
    figure, grid = plt.subplots(rows, columns, figsize=size, sharey=share, layout="constrained", squeeze=False)
    longest = max(np.nanmax(curve.x["wall_seconds"], initial=0.0) for curve in curves)
    for i, task in enumerate(tasks):
        panels, own = grid[0] if single else grid[:, i], [curve for curve in curves if curve.task == task]
        for axis, name in zip(panels, x, strict=True):
            _panel(axis, own, name, longest)
        if not single:
            panels[0].set_title(task)
            panels[-1].legend(fontsize="small")
    for axis in [grid[0, 0]] if single else grid[:, 0]:
        axis.set_ylabel("return of an episode" if metric == RETURN else metric)
    if title:
        figure.suptitle(title)
    if single:
        columns = 1 if max(len(curve.label) for curve in curves) > 60 else 2
        handles = grid[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=columns, fontsize="small")
    return figure


def _panel(axis: Any, curves: Sequence[Curve], name: str, longest: float) -> None:
    """Curves over one of AXES; `longest` wall time [s] of the figure decides its unit."""
    from matplotlib.ticker import EngFormatter

    unit, seconds = ("h", 3600.0) if longest > 2 * 3600 else ("min", 60.0) if longest > 600 else ("s", 1.0)
    for curve in curves:
        x = curve.x[name] / (seconds if name == "wall_seconds" else 1.0)
        (line,) = axis.plot(x, curve.centre(), label=curve.label, marker="." if len(x) < MARKED else None)
        if (band := curve.band()) is not None:
            axis.fill_between(x, *band, color=line.get_color(), alpha=0.2, linewidth=0)
    axis.set_xlabel(f"{AXES[name]}, compilation included [{unit}]" if name == "wall_seconds" else AXES[name])
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    if name != "wall_seconds":
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))


def band_meaning(curves: Sequence[Curve]) -> str:
    """What the bands of a figure are."""
    several = [len(curve.values) > 1 for curve in curves]
    over_seeds = "95 % bootstrap interval of the mean over seeds" if any(several) else ""
    over_episodes = "one standard deviation over episodes" if not all(several) else ""
    return "; of a single seed ".join(text for text in (over_seeds, over_episodes) if text)
