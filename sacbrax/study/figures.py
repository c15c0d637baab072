"""Figures of the scaling study, from its rows alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax.bench.roofline import bound
from sacbrax.bench.work import update_bytes, update_flops
from sacbrax.config import Config
from sacbrax.study.grid import COSTS, Cell, best
from sacbrax.view.curves import short_number
from sacbrax.view.figures import load_matplotlib, save

Row = Mapping[str, Any]
NAMES = {
    "env.num_envs": "environments",
    "train.batch_size": "batch size",
    "train.updates_per_step": "updates per vector step",
    "train.num_seeds": "seeds",
    "network.hidden_sizes": "width of the hidden layers",
}
LEVEL_STYLE = {"memory": "--", "cache": ":"}


def name(axis: str) -> str:
    """An axis in words."""
    return NAMES.get(axis, axis)


def work(config: Config, sizes: tuple[int, int]) -> tuple[int, int]:
    """Operations and bytes of one gradient step; sizes are (O, A)."""
    return update_flops(config, *sizes), update_bytes(config, *sizes)


def rates(out: Path, table: Mapping[str, Sequence[Row]], roof: Row) -> None:
    """Env steps and gradient steps per second against every axis, with what the roofs allow."""
    plt = load_matplotlib()
    figure, axes = _panels(plt, table, 2)
    for column, (axis, rows) in enumerate(table.items()):
        x = [row["x"] for row in rows]
        top, bottom = axes[0][column], axes[1][column]
        top.plot(x, [row["env_steps_per_second"] for row in rows], "o-", color="C0")
        bottom.plot(x, [row["gradient_steps_per_second"] for row in rows], "o-", color="C1", label="measured")
        for level, style in LEVEL_STYLE.items():
            most = [bound(roof, row["flops"], row["bytes"], level) / row["flops"] for row in rows]
            bottom.plot(x, most, style, color="0.35", label=f"roof, data from {level}")
        if axis in ("env.num_envs", "train.num_seeds"):
            first = rows[0]["env_steps_per_second"] / x[0]
            top.plot(x, [first * value for value in x], "-", color="0.8", zorder=0, label="proportional")
            top.legend(fontsize="x-small")
        for panel in (top, bottom):
            _logarithmic(panel, x, name(axis))
    axes[0][0].set_ylabel("env steps per second")
    axes[1][0].set_ylabel("gradient steps per second")
    axes[1][0].legend(fontsize="x-small")
    _write(plt, figure, out)


def costs(out: Path, table: Mapping[str, Sequence[Row]]) -> None:
    """Seconds of compilation and memory against every axis."""
    plt = load_matplotlib()
    figure, axes = _panels(plt, table, 2)
    for column, (axis, rows) in enumerate(table.items()):
        x = [row["x"] for row in rows]
        axes[0][column].plot(x, [row["compile_seconds"] for row in rows], "o-", color="C2")
        axes[0][column].set_ylim(bottom=0)
        axes[0][column].set_xscale("log", base=2)
        _ticks(axes[0][column], x, name(axis))
        low = axes[1][column]
        low.plot(x, [row["peak_bytes"] / 2**20 for row in rows], "o-", color="C3", label="peak, measured")
        low.plot(x, [row["state_bytes"] / 2**20 for row in rows], "s--", color="0.4", label="training state, predicted")
        _logarithmic(low, x, name(axis))
    axes[0][0].set_ylabel("compilation [s]")
    axes[1][0].set_ylabel("memory [MiB]")
    axes[1][0].legend(fontsize="x-small")
    _write(plt, figure, out)


def roofline(out: Path, table: Mapping[str, Sequence[Row]], roof: Row) -> None:
    """Useful operations per second of the training program against operations per byte, under the machine's roofs."""
    plt = load_matplotlib()
    import numpy as np

    figure, axis = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    moved = ("train.batch_size", "network.hidden_sizes", "train.updates_per_step")
    series = {key: rows for key, rows in table.items() if key in moved}
    found = [row["flops"] / row["bytes"] for rows in series.values() for row in rows]
    intensity = np.geomspace(min([*found, 1.0]) / 2, max([*found, 1.0]) * 8, 200)
    for level, style in LEVEL_STYLE.items():
        axis.plot(
            intensity,
            [bound(roof, x, 1.0, level) / 1e9 for x in intensity],
            style,
            color="0.2",
            label=f"roof, data from {level}",
        )
    for (key, rows), mark, offset in zip(series.items(), "os^", ((6, -9), (-14, -2), (6, 3)), strict=False):
        x = [row["flops"] / row["bytes"] for row in rows]
        y = [row["flops"] * row["gradient_steps_per_second"] / 1e9 for row in rows]
        (line,) = axis.plot(x, y, mark, label=name(key), alpha=0.8)
        for a, b, row in zip(x, y, rows, strict=True):
            axis.annotate(
                f"{row['x']:g}", (a, b), textcoords="offset points", xytext=offset, fontsize=7, color=line.get_color()
            )
    axis.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="useful GFLOP/s of the training program")
    axis.grid(alpha=0.3, which="both", linewidth=0.4)
    axis.legend(fontsize="small", loc="lower right")
    _write(plt, figure, out)


def marks(out: Path, table: Mapping[str, Sequence[Row]], mark: float) -> None:
    """Wall seconds until the return mark, and the learning curves behind them."""
    plt = load_matplotlib()
    figure, axes = plt.subplots(2, len(table), figsize=(4.2 * len(table), 6.4), squeeze=False, layout="constrained")
    for column, (axis, rows) in enumerate(table.items()):
        labels, places = [f"{row['x']:g}" for row in rows], range(len(rows))
        whole = [row["seconds"] or 0.0 for row in rows]
        compiled = [row["compile_seconds"] if row["seconds"] else 0.0 for row in rows]
        top, bottom = axes[0][column], axes[1][column]
        top.bar(places, whole, color="C0", label="learning, evaluation")
        top.bar(places, compiled, color="C2", label="compilation")
        for place, row in zip(places, rows, strict=True):
            if row["seconds"] is None:
                top.annotate("not reached", (place, 0), rotation=90, ha="center", va="bottom", fontsize=8)
        top.set_xticks(places, labels)
        top.margins(y=0.25)
        top.set_xlabel(name(axis))
        for row, label in zip(rows, labels, strict=True):
            curve = row["evaluations"]
            bottom.plot(
                [each["wall_seconds"] for each in curve], [each["eval/return_mean"] for each in curve], label=label
            )
        bottom.axhline(mark, color="0.4", linestyle="--", linewidth=1)
        bottom.set_xlabel("wall seconds")
        bottom.legend(title=name(axis), fontsize="x-small", title_fontsize="x-small")
        bottom.grid(alpha=0.3)
    axes[0][0].set_ylabel(f"seconds to a return of {mark:g}")
    axes[0][0].legend(fontsize="x-small")
    axes[1][0].set_ylabel("return")
    _write(plt, figure, out)


def samples(out: Path, table: Mapping[str, Sequence[Row]], mark: float) -> None:
    """Environment steps against gradient steps by the return mark: what an axis trades for what.

    Along a dashed line both grow alike; a point is better the further it is to the left and below. What is past the
    mark before its first update has no place on axes of logarithms.
    """
    plt = load_matplotlib()
    figure, axis = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
    for key, rows in table.items():
        reached = [row for row in rows if row["gradient_steps"]]
        x, y = [row["gradient_steps"] for row in reached], [row["env_steps"] for row in reached]
        (line,) = axis.plot(x, y, "o-", label=name(key), alpha=0.8)
        for a, b, row in zip(x, y, reached, strict=True):
            axis.annotate(
                f"{row['x']:g}", (a, b), textcoords="offset points", xytext=(5, 4), fontsize=8, color=line.get_color()
            )
    axis.set(xlabel="gradient steps", ylabel=f"env steps to a return of {mark:g}")
    if any(row["gradient_steps"] for rows in table.values() for row in rows):
        axis.set(xscale="log", yscale="log")
        x, y = axis.get_xlim(), axis.get_ylim()
        for factor in np.geomspace(y[0] / x[1], y[1] / x[0], 6)[1:-1]:
            axis.plot(x, [factor * each for each in x], color="0.8", linestyle="--", linewidth=0.8, zorder=0)
        axis.set(xlim=x, ylim=y)
    axis.grid(alpha=0.3, which="both", linewidth=0.4)
    axis.legend(fontsize="small")
    _write(plt, figure, out)


def isoefficiency(out: Path, axes: Sequence[str], cells: Sequence[Cell], mark: float) -> None:
    """Seconds and environment steps to the mark over the first two axes, with lines of equal cost, each the least over
    all other axes; and what every cell trades: environment steps against gradient steps, coloured by the first axis."""
    plt = load_matplotlib()
    figure, panels = plt.subplots(1, 3, figsize=(13.5, 4.4), layout="constrained")
    columns, lines = (sorted({cell.values[place] for cell in cells}) for place in (0, 1))
    for panel, cost, title in zip(panels, COSTS, ("seconds without compilation", "environment steps"), strict=False):
        table = np.full((len(lines), len(columns)), np.inf)
        for cell in best(cells, (0, 1), cost):
            table[lines.index(cell.values[1]), columns.index(cell.values[0])] = getattr(cell, cost)
        _map(panel, np.ma.masked_invalid(table))
        panel.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
        panel.set_yticks(range(len(lines)), [f"{value:g}" for value in lines])
        panel.set(xlabel=name(axes[0]), ylabel=name(axes[1]), title=f"{title} to {mark:g}")
    last = panels[2]
    drawn = [cell for cell in cells if 0 < cell.gradient_steps < np.inf]  # as in `samples`
    for i, value in enumerate(columns):
        own = [cell for cell in drawn if cell.values[0] == value]
        last.plot(
            [cell.gradient_steps for cell in own],
            [cell.env_steps for cell in own],
            "o",
            color=plt.get_cmap("viridis")(i / max(1, len(columns) - 1)),
            label=f"{value:g}",
        )
    last.set(xlabel="gradient steps", ylabel="environment steps", title=f"by {mark:g}: left and low is better")
    if drawn:
        last.set(xscale="log", yscale="log")
        last.tick_params(axis="x", which="both", labelsize="x-small", rotation=45)  # minor ones have numbers too
    last.grid(alpha=0.3, which="both", linewidth=0.4)
    last.legend(title=name(axes[0]), fontsize="x-small", title_fontsize="x-small")
    _write(plt, figure, out)


def _map(panel: Any, table: np.ma.MaskedArray) -> None:
    """A cost [lines, columns] as colours on a scale of logarithms, its numbers, and lines at every doubling."""
    costs = np.ma.log2(table)
    panel.imshow(costs, origin="lower", aspect="auto", cmap="viridis_r", alpha=0.6)
    if min(table.shape) > 1 and costs.count() > 1:
        levels = np.arange(np.floor(costs.min()), np.ceil(costs.max()))
        panel.contour(costs, levels=levels, colors="black", linewidths=0.8, alpha=0.7)
    for (line, column), value in np.ndenumerate(table.filled(np.inf)):
        text = short_number(float(f"{value:.3g}")) if np.isfinite(value) else "not\nreached"
        panel.text(column, line, text, ha="center", va="center", fontsize=8)


def _panels(plt: Any, table: Mapping[str, Any], lines: int) -> tuple[Any, Any]:
    size = (2.6 * len(table), 2.7 * lines)
    return plt.subplots(lines, len(table), figsize=size, sharey="row", squeeze=False, layout="constrained")


def _logarithmic(panel: Any, x: Sequence[float], label: str) -> None:
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    _ticks(panel, x, label)


def _ticks(panel: Any, x: Sequence[float], label: str) -> None:
    panel.set_xticks(x, [f"{value:g}" for value in x], fontsize=8)
    panel.set_xlabel(label, fontsize=9)
    panel.grid(alpha=0.3)


def _write(plt: Any, figure: Any, out: Path) -> None:
    save(out, lambda: figure.savefig(out, dpi=100))
    plt.close(figure)
