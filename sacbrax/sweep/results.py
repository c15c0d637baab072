"""What a sweep found: the ranked table on the terminal, results.csv, and a picture of every varied key.

Reads the rows of the journal and no run.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sacbrax.core.files import write_atomically
from sacbrax.sweep.journal import Journal, Row
from sacbrax.sweep.space import Range
from sacbrax.sweep.spec import Sweep
from sacbrax.view.figures import load_matplotlib, save

SHOWN = 20  # rows of the table on the terminal; the file has all
WIDTH = 30  # letters that stand side by side below a panel


def write_csv(sweep: Sweep, journal: Journal) -> Path:
    """results.csv, the best trial first."""
    names = ("score", "final", "best", "iqm", "iqm_low", "iqm_high")
    rest = ("env_steps", "gradient_steps", "seconds", "run", "seed_index", "seeds", "error")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "trial", "status", *sweep.space, *names, "by_seed", *rest])
    for rank, row in enumerate(journal.ranked(sweep.config.direction), start=1):
        own = [_settings(row)[key] for key in sweep.space]
        by_seed = " ".join(map(str, row.get("by_seed", [])))
        writer.writerow([rank, row["trial"], row["status"], *own, *map(row.get, names), by_seed, *map(row.get, rest)])
    path = journal.directory / "results.csv"
    write_atomically(path, text.getvalue())
    return path


def print_table(sweep: Sweep, journal: Journal, console: Console) -> None:
    """The best trials, ranked."""
    rows = journal.ranked(sweep.config.direction)
    several = any(row.get("seeds", 1) > 1 for row in rows)
    title = f"{sweep.name}: {sweep.config.metric}, {sweep.config.score}, {sweep.config.direction}d"
    table = Table(title=title, title_justify="left")
    for name in ("rank", "trial", *sweep.space):
        table.add_column(name.rpartition(".")[2], justify="right", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True)
    if several:
        table.add_column("IQM of seeds, 95 % interval", justify="right", no_wrap=True)
    for rank, row in enumerate(rows[:SHOWN], start=1):
        own = [short(_settings(row)[key]) for key in sweep.space]
        score = short(row["score"]) if row.get("score") is not None else row["status"]
        score += " (pruned)" if row["status"] == "pruned" else ""
        cells = [str(rank), str(row["trial"]), *own, score]
        if several:
            cells.append(f"{row['iqm']:.1f} [{row['iqm_low']:.1f}, {row['iqm_high']:.1f}]" if "iqm" in row else "")
        table.add_row(*cells)
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"and {len(rows) - SHOWN} more in results.csv")


def _settings(row: Row) -> Mapping[str, Any]:
    """What a trial was trained with, at the end if that changed."""
    found: Mapping[str, Any] = row["settings"] if "settings" in row else row["parameters"]
    return found


def short(value: Any) -> str:
    """A value for a table."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(map(short, value)) if isinstance(value, list) else str(value)


def draw(sweep: Sweep, journal: Journal) -> Path:
    """results.png: for every varied key the score of each trial, its best in colour."""
    plt = load_matplotlib()
    scored = [row for row in journal.ranked(sweep.config.direction) if row.get("score") is not None]
    count = len(sweep.space)
    columns = min(3, count)
    lines = math.ceil(count / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4.2 * columns, 3.4 * lines), sharey=True, squeeze=False, layout="constrained"
    )
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    for place, (axis, (key, values)) in enumerate(zip(axes.flat, sweep.space.items(), strict=False)):
        _panel(axis, key, values, scored, labelled=place == 0)
        axis.set_xlabel(key)
        axis.grid(alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel(f"{sweep.config.metric} ({sweep.config.score})")
    if scored:
        axes[0, 0].legend(fontsize="small")
    out = journal.directory / "results.png"
    save(out, lambda: figure.savefig(out, dpi=120))
    plt.close(figure)
    return out


def _panel(axis: Any, key: str, values: Range | Sequence[Any], rows: list[Row], labelled: bool) -> None:
    found = [_settings(row)[key] for row in rows]
    scores = [row["score"] for row in rows]
    if isinstance(values, Range):
        x = found
        axis.set_xscale("log" if values.log else "linear")
    else:  # choices stand side by side, each with its mean
        x = [values.index(value) for value in found]
        labels = [short(value) for value in values]
        axis.set_xticks(range(len(values)), labels)
        if sum(map(len, labels)) > WIDTH:
            axis.tick_params(axis="x", labelrotation=90)
        axis.margins(x=0.2)
        own = [[score for j, score in zip(x, scores, strict=True) if j == i] for i in range(len(values))]
        means = [(i, sum(those) / len(those)) for i, those in enumerate(own) if those] or [(0, math.nan)]
        axis.plot(*zip(*means, strict=True), color="0.6", zorder=1, label="mean" if labelled else None)
    seeds = [(a, value) for a, row in zip(x, rows, strict=True) for value in row["by_seed"] if row["seeds"] > 1]
    if seeds:
        axis.plot(*zip(*seeds, strict=True), "_", color="C0", alpha=0.5, label="a seed" if labelled else None)
    axis.plot(x, scores, "o", color="C0", alpha=0.7, markersize=5, label="a trial" if labelled else None)
    if rows:
        axis.plot(x[0], scores[0], "*", color="C3", markersize=13, label="the best" if labelled else None)
