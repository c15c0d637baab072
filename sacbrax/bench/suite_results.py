"""What a suite of tasks came to: its table as text, CSV and Markdown, and the mean over tasks by time as a picture.

The public figures are quoted, not measured here: means over 23 DM Control tasks of MuJoCo Playground, on a GPU. Reads
the runs' files; knows no training.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax.config import ConfigError
from sacbrax.core.files import write_atomically
from sacbrax.view.curves import tidy
from sacbrax.view.figures import literal, load_matplotlib
from sacbrax.view.metrics import RETURN, STEPS, read_columns
from sacbrax.view.tables import Table, csv_text

SECONDS = "wall_seconds"
PUBLIC = {"Brax's SAC, at its end": (None, 659.0), "REPPO, on a GPU": (568.0, 774.0)}  # seconds, mean return
NUMBERS = ("seeds", "env_steps", "seconds", "last_return", "best_return")
NAMES = ("task", *NUMBERS, "error")


def collect(runs: Sequence[tuple[str, Path]], errors: Mapping[Path, str], seconds: float) -> dict[str, Any]:
    """One row for each task: means over its runs, the number of seeds that have an evaluation, and what went wrong.

    `mean_return` is that of the rows' last returns, None while a task has none; `curves` are `times` [T] with the
    newest return of each task by then, 0 before its first evaluation.
    """
    rows, traces = [], {}
    for task in dict.fromkeys(task for task, _ in runs):
        own = [run for other, run in runs if other == task]
        found = [trace for run in own if (trace := _trace(run)) is not None]
        said = "; ".join(errors[run] for run in own if run in errors)
        row: dict[str, Any] = {"task": task, "seeds": len(found), **dict.fromkeys(NUMBERS[1:]), "error": said}
        if found:
            ends = np.array([[*trace[-1], trace[:, 2].max()] for trace in found]).mean(axis=0)
            row |= dict(zip(NUMBERS[1:], (int(ends[0]), *map(float, ends[1:])), strict=True))
            traces[task] = found
        rows.append(row)
    last = [row["last_return"] for row in rows]
    times = np.unique([0.0, *(time for found in traces.values() for trace in found for time in trace[:, 1])])
    return {
        "seconds": seconds,
        "tasks": rows,
        "mean_return": None if None in last else float(np.mean(last)),
        "times": times.tolist(),
        "curves": {task: _by_time(found, times).tolist() for task, found in traces.items()},
    }


def _trace(run: Path) -> np.ndarray | None:
    """Evaluations [T, 3]: environment steps, seconds, return; None where there is none."""
    try:
        columns = read_columns(run, [STEPS, SECONDS, RETURN])
    except ConfigError:
        return None
    table = np.stack([columns[STEPS], columns[SECONDS], columns[RETURN]], axis=1)
    table = table[np.isfinite(table).all(axis=1)]
    return table if len(table) else None


def _by_time(traces: Sequence[np.ndarray], times: np.ndarray) -> np.ndarray:
    """Mean over runs of the newest return by each of `times`, 0 before the first."""
    newest = []
    for trace in traces:
        known = np.searchsorted(trace[:, 1], times, side="right")
        newest.append(np.concatenate([[0.0], trace[:, 2]])[known])
    return np.mean(newest, axis=0)


def write(folder: Path, result: Mapping[str, Any]) -> None:
    """suite.csv, suite.md and suite.png."""
    write_atomically(folder / "suite.csv", csv_text(NAMES, [[row[name] for name in NAMES] for row in result["tasks"]]))
    notes = "".join(f"* {note}\n" for note in _notes(result))
    write_atomically(folder / "suite.md", f"{_table(result).markdown()}\n{notes}")
    plt = load_matplotlib()
    figure = draw(plt, result)
    figure.savefig(folder / "suite.png", dpi=150)
    plt.close(figure)


def text(result: Mapping[str, Any]) -> str:
    """For a terminal."""
    return _table(result).text() + "\n".join(_notes(result)) + "\n"


def _table(result: Mapping[str, Any]) -> Table:
    names = ("task", "seeds", "env steps", "seconds", "last return", "best return", "")
    rows = []
    for row in result["tasks"]:
        numbers = [
            _known(row[name], form) for name, form in zip(NUMBERS, ("d", ",d", ",.0f", ",.1f", ",.1f"), strict=True)
        ]
        rows.append([row["task"], *numbers, row["error"]])
    return Table(names, rows, frozenset(names[1:-1]))


def _known(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _notes(result: Mapping[str, Any]) -> list[str]:
    count, mean = len(result["tasks"]), result["mean_return"]
    own = f"mean of the last returns of {count} tasks after {result['seconds']:g} s each: "
    public = (
        f"{value:g}, {name}" + ("" if seconds is None else f", in {seconds:g} s")
        for name, (seconds, value) in PUBLIC.items()
    )
    return [
        own + ("not measured, for some have none" if mean is None else f"{mean:.1f}"),
        f"public means over 23 DM Control tasks, quoted: {'; '.join(public)}",
    ]


def draw(plt: Any, result: Mapping[str, Any]) -> Any:
    """Return by time: each task thin, their mean thick, public figures as a line and a point."""
    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    times, values = result["times"], list(result["curves"].values())
    for task, curve in result["curves"].items():
        axis.step(times, curve, where="post", linewidth=0.8, alpha=0.6, label=literal(task))
    if values:
        mean = np.sum(values, axis=0) / len(result["tasks"])
        axis.step(
            times, mean, where="post", linewidth=2.5, color="black", label=f"mean of {len(result['tasks'])} tasks"
        )
    for name, (seconds, value) in PUBLIC.items():
        if seconds is None:
            axis.axhline(value, linestyle="--", color="gray", label=f"{name}: {value:g}")
        else:
            axis.plot([seconds], [value], "k*", markersize=10, label=f"{name}: {value:g}", linestyle="none")
    axis.set_xlabel("wall time of each task, compilation included [s]")
    axis.set_ylabel("return of an episode")
    tidy(axis, counts=False)
    figure.legend(loc="outside right upper", fontsize="x-small")
    return figure
