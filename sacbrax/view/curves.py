"""Learning curves: runs read from their files, seeds of one configuration gathered, several configurations compared.

Needs nothing of a run but metrics.jsonl and config.yaml. Knows no JAX.
"""

import dataclasses
import difflib
import functools
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax import config as config_lib
from sacbrax.config import ConfigError, flat
from sacbrax.core import trials_file
from sacbrax.core.interquartile import CONFIDENCE, REPETITIONS
from sacbrax.view.figures import literal
from sacbrax.view.metrics import RETURN, last_row, read_columns

UNRELATED = ("run.", "logging.", "checkpoint.", "train.seed", "train.num_seeds")  # to what a run learns, but for chance
SPREAD = "eval/return_std"
AXES = {"env_steps": "environment steps", "gradient_steps": "gradient steps", "wall_seconds": "wall time"}
MOST_KEYS = 4  # in which runs differ; with more of them a legend has their names instead
LEGEND_WIDTH = 40  # characters that a panel's own legend is wide
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

    def thinned(self, most: int) -> "Curve":
        """The same at `most` evaluations, evenly chosen, the first and the last among them."""
        count = self.values.shape[1]
        if count <= most:
            return self
        kept = np.linspace(0, count - 1, most).round().astype(int)
        spread = None if self.spread is None else self.spread[kept]
        x = {name: column[kept] for name, column in self.x.items()}
        return dataclasses.replace(self, x=x, values=self.values[:, kept], spread=spread)


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
    """Runs by configuration; a seed that comes again is a group of its own. Raises ConfigError for a sweep's trials."""
    for run in runs:
        trials_file.refuse(run)
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
        if len(same) == 1 < len(set(tasks)) and (algorithm := same[0][1].get("algorithm.name")):
            labels[same[0][0][0]] = algorithm  # beside other tasks its title says which one it is
    return [
        Group(members, labels[members[0]], task, mapping) for (members, mapping), task in zip(found, tasks, strict=True)
    ]


def differing_keys(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Keys in which configurations differ, but for what a run does not learn from; an empty one is not known."""
    keys = dict.fromkeys(key for each in settings for key in each if not key.startswith(UNRELATED))
    return [key for key in keys if len({repr(each.get(key)) for each in settings if each}) > 1]


def _labels(groups: list[tuple[list[str], dict[str, Any]]]) -> list[str]:
    """What sets each group's configuration apart from the others'; the directory's name where that is nothing, or more
    than a legend holds."""
    differing = differing_keys([settings for _, settings in groups])
    # The key's last word, but the section's where that says more: algorithm=sac_v1, policy=gmm.
    short = {key: key.split(".")[0 if key.endswith((".name", ".kind")) else -1] for key in differing}
    for key, name in short.items():
        if list(short.values()).count(name) > 1:
            short = short | {key: key}
    names = [Path(members[0]).resolve().name for members, _ in groups]
    labels = []
    for (members, settings), name in zip(groups, names, strict=True):
        parts = [f"{short[key]}={in_words(settings[key])}" for key in differing if key in settings]
        own = name if names.count(name) == 1 else members[0]
        labels.append(", ".join(parts) if 0 < len(parts) <= MOST_KEYS else own)
    return labels


def in_words(value: Any) -> str:
    """A value of the configuration as people write it."""
    if isinstance(value, dict) and {"values", "boundaries"} <= set(value):  # a schedule
        turns = ["", *(f" at {boundary:,}" for boundary in value["boundaries"])]
        points = [in_words(number) + turn for number, turn in zip(value["values"], turns, strict=True)]
        return f"{' → '.join(points)} ({value.get('schedule')})"
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {in_words(part)}" for key, part in value.items())
    if value is None or isinstance(value, bool):
        return json.dumps(value)  # null, true and false, as in the file
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def seed_names(run: str | Path, metric: str) -> list[str]:
    """The keys under which the seeds of a run have their own values of a metric; the metric itself of one seed."""
    return sorted((key for key in last_row(run) or {} if _seed_key(key, metric)), key=_seed_number) or [metric]


def curve_of(group: Group, metric: str = RETURN) -> Curve:
    """The seeds of some runs at the environment steps where all of them have a value. Raises ConfigError."""
    tables, seeds = [], []
    for run in group.runs:
        names = seed_names(run, metric)
        table = read_columns(run, [*AXES, SPREAD, metric, *names])
        there = np.flatnonzero(np.isfinite(table[metric]))[::-1]
        if not len(there):
            close = difflib.get_close_matches(metric, last_row(run) or {}, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise ConfigError(f"--metric: {run} has no {metric!r}{hint}")
        steps, order = np.unique(table["env_steps"][there], return_index=True)  # of equal ones the last
        tables.append({name: column[there][order] for name, column in table.items()})
        seeds += [(tables[-1], name) for name in names]
    steps = functools.reduce(np.intersect1d, [table["env_steps"] for table in tables])
    if not len(steps):
        raise ConfigError(f"{', '.join(group.runs)}: no environment step at which all were evaluated")

    def column(table: dict[str, np.ndarray], name: str) -> np.ndarray:
        return table[name][np.searchsorted(table["env_steps"], steps)]

    x = {name: np.mean([column(table, name) for table in tables], axis=0) for name in AXES}
    values = np.array([column(table, name) for table, name in seeds])
    spread = np.nan_to_num(column(tables[0], SPREAD)) if len(values) == 1 and metric == RETURN else None
    label = literal(group.label)
    return Curve(label if len(values) == 1 else f"{label} ({len(values)} seeds)", x, values, spread, group.task)


def _seed_number(key: str) -> int:
    return int(key.partition("/")[0].removeprefix("seed_"))


def _seed_key(key: str, metric: str) -> bool:
    """Whether a key is one seed's own value of the metric, such as seed_3/eval/return_mean."""
    first, _, rest = key.partition("/")
    return rest == metric and first.startswith("seed_") and first[5:].isdigit()


def draw(plt: Any, curves: Sequence[Curve], metric: str = RETURN, x: Sequence[str] = tuple(AXES)) -> Any:
    """A figure with one panel for each of `x`, of AXES. Those of one task stand side by side; several tasks are a
    column each, with a scale of its own. What the bands are stands below."""
    tasks = list(dict.fromkeys(curve.task for curve in curves))
    single = len(tasks) == 1
    rows, columns = (1, len(x)) if single else (len(x), len(tasks))
    size, share = (max(4 * columns, 6), 3.8 * rows), "row" if single else "col"
    figure, grid = plt.subplots(rows, columns, figsize=size, sharey=share, layout="constrained", squeeze=False)
    longest = max(np.nanmax(curve.x["wall_seconds"], initial=0.0) for curve in curves)
    for i, task in enumerate(tasks):
        panels, own = grid[0] if single else grid[:, i], [curve for curve in curves if curve.task == task]
        for axis, name in zip(panels, x, strict=True):
            panel(axis, own, name, longest)
        if not single:
            panels[0].set_title(literal(task))
            handles, labels = panels[-1].get_legend_handles_labels()
            panels[-1].legend(handles, [textwrap.fill(label, LEGEND_WIDTH) for label in labels], fontsize="small")
    for axis in [grid[0, 0]] if single else grid[:, 0]:
        axis.set_ylabel("return of an episode" if metric == RETURN else literal(metric))
    note = f"band: {meaning}" if (meaning := band_meaning(curves)) else ""
    if single:
        figure.suptitle(title(curves))
    if single and len(curves) > 1:
        columns = 1 if max(len(curve.label) for curve in curves) > 40 * len(x) // 2 else 2
        handles = grid[0, 0].get_legend_handles_labels()
        legend = figure.legend(*handles, loc="outside lower center", ncols=columns, fontsize="small", frameon=False)
        legend.set_title(note, {"size": "small"})
    else:
        figure.supxlabel(note, fontsize="small")
    return figure


def single_panels(plt: Any, curves: Sequence[Curve]) -> list[Any]:
    """The return against each of AXES, a figure each."""
    figures, longest = [], max(np.nanmax(curve.x["wall_seconds"], initial=0.0) for curve in curves)
    for name in AXES:
        figure, axis = plt.subplots(figsize=(4, 3), layout="constrained")
        panel(axis, curves, name, longest)
        axis.set_ylabel("return of an episode")
        figures.append(figure)
    return figures


def title(curves: Sequence[Curve]) -> str:
    """The task of curves that have one in common, and the run where there is but one."""
    return ": ".join(dict.fromkeys(filter(None, (curves[0].task, curves[0].label if len(curves) == 1 else ""))))


def panel(axis: Any, curves: Sequence[Curve], name: str, longest: float) -> None:
    """Curves over one of AXES; `longest` wall time [s] of the figure decides its unit."""
    unit, seconds = ("h", 3600.0) if longest > 2 * 3600 else ("min", 60.0) if longest > 600 else ("s", 1.0)
    for curve in curves:
        x = curve.x[name] / (seconds if name == "wall_seconds" else 1.0)
        marker = "." if len(x) < MARKED else None
        (line,) = axis.plot(x, curve.centre(), label=curve.label, marker=marker, clip_on=False)  # a dot at 0 is whole
        if (band := curve.band()) is not None:
            axis.fill_between(x, *band, color=line.get_color(), alpha=0.2, linewidth=0)
    axis.set_xlabel(f"{AXES[name]}, compilation included [{unit}]" if name == "wall_seconds" else AXES[name])
    tidy(axis, counts=name != "wall_seconds")


def tidy(axis: Any, counts: bool) -> None:
    """The look of every panel: from 0 on, a grid, large numbers with k, M and G; `counts`: none between whole ones."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    _, right = axis.get_xlim()
    axis.set_xlim(0, max(right, 1.0) if counts else right)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=counts))
    for line in (axis.xaxis, axis.yaxis):
        line.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))


def short_number(value: float) -> str:
    """A tick's number: 1500 is 1.5k, 2000000 is 2M, and nothing below 1 gets a letter, for m would be milli."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{letter}"
    return f"{value:.6g}"


def band_meaning(curves: Sequence[Curve]) -> str:
    """What the bands of a figure are; nothing where there are none."""
    several = [len(curve.values) > 1 for curve in curves]
    over_seeds = "95 % bootstrap interval of the mean over seeds" if any(several) else ""
    banded = any(curve.spread is not None for curve in curves)
    over_episodes = "one standard deviation over episodes" if banded else ""
    return "; of a single seed ".join(text for text in (over_seeds, over_episodes) if text)
