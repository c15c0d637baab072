"""The scaling study as a report fit for an appendix: report.md, report.html with everything inside, tables, figures."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from sacbrax.bench.roofline import bound
from sacbrax.core.files import write_atomically
from sacbrax.core.machine import git_revision, processor, versions
from sacbrax.study import figures, grid_text
from sacbrax.study.grid import Cell, cells
from sacbrax.study.places import place
from sacbrax.view import tables

Table = dict[str, list[dict[str, Any]]]  # rows of every axis, in the order of its values
COLUMNS = (
    ("env_steps_per_second", "env steps/s", "{:,.0f}"),
    ("gradient_steps_per_second", "gradient steps/s", "{:,.0f}"),
    ("spread", "range of the calls", "{}"),
    ("flops", "operations per update", "{:.2e}"),
    ("intensity", "operations per byte", "{:.1f}"),
    ("of_matmul", "of the matrix product's rate", "{:.3f}"),
    ("of_roof", "of the memory roof", "{:.3f}"),
    ("compile_seconds", "compilation [s]", "{:.1f}"),
    ("peak_bytes", "peak memory [MiB]", "{:,.0f}"),
    ("state_bytes", "state [MiB]", "{:,.1f}"),
)
MARK_COLUMNS = (
    ("seconds", "seconds to the mark", "{:.1f}"),
    ("seconds_without_compilation", "without compilation", "{:.1f}"),
    ("compile_seconds", "compilation [s]", "{:.1f}"),
    ("env_steps", "env steps by then", "{:,}"),
    ("gradient_steps", "gradient steps by then", "{:,}"),
    ("best_return", "best return", "{:.1f}"),
)
STYLE = (
    "body{font:16px/1.5 Georgia,serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;font:13px sans-serif;display:block;overflow-x:auto;margin:1rem 0}"
    "th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}th{border-bottom:2px solid #555}"
    "img{max-width:100%}code,pre{font-size:13px;background:#f5f5f5}pre{padding:.6rem;overflow-x:auto}"
)
TEMPLATE = """\
# Scaling of the training program ({scale})

**Question.** How do simulation and learning, compiled as one program, use the machine when the number of environments,
the minibatch, the ratio of updates to steps, the number of seeds or the width of the networks grows? Base point:
`{base}`. Each axis moves one setting, all else stays. Set besides: {fixed}. Growing along: {grows}.

## Method

Every point is a process of its own. Rates: after a warm-up, {repeats} calls of about {seconds:g} s of the compiled loop
(act, step every environment, write replay, sample, update), their median; the range is theirs over the median.
No evaluation, log or checkpoint. With several seeds, rates are sums over them. Compilation: XLA's wall time for the
whole program, without a cache. Peak memory: of the device where it tells, else of the process, Python and libraries
included; state: computed from shapes.

Operations are 2 m n k of every matrix product of an update and nothing for the rest; bytes count every parameter,
moment, gradient and activation in 32 bits each time it is used, as if no cache held it. The roofs are measured: square
matrix products of {size}, and a triad y <- a y + x on {large:g} MiB (memory) and on {small:g} MiB (cache).
A point above the
memory roof works from the caches. Simulation takes time and adds no operation: fractions are of all its time.

## Machine

{machine}, {cpus} CPU cores, platform {platform}. Matrix product {peak:,.1f} GFLOP/s; bandwidth {memory:,.1f} GB/s from
memory, {cache:,.1f} GB/s from the cache; ridges at {memory_ridge:.1f} and {cache_ridge:.1f} operations per byte.
{versions}; revision {revision}; {date}.

```
{command}
```
"""
RATES_TEMPLATE = """
## Rates

![Figure 1](rates.png)

*Figure 1. Env steps and gradient steps per second along every axis. Dashed and dotted: what the roofs allow the updates
alone. Grey: proportional to the first point.*

{tables}

![Figure 2](roofline.png)

*Figure 2. Useful operations per second of the whole training program against operations per byte; the numbers are the
values of the axis.*

## Compilation and memory

![Figure 3](costs.png)

*Figure 3. Seconds of compilation, and memory: the peak and the training state.*
"""
MARK_TEMPLATE = """
## Time to a return of {mark:g}

Wall time of one run with seed {seed} to the first evaluation whose mean return is at the mark: compilation without a
cache, exploration and evaluations included, checkpoints not, at most {updates:,} gradient steps. One run each, and
seeds differ: read differences of some tens of per cent as noise.

![Figure {figure}](marks.png)

*Figure {figure}. Seconds to the mark, and the learning curves behind them.*

![Figure {next_figure}](samples.png)

*Figure {next_figure}. Environment steps against gradient steps by the mark; the numbers are the values of the axis.
Along a dashed line both grow alike.*

{tables}
"""


def write(study: Any, points: Sequence[Mapping[str, Any]], command: str) -> list[Path]:
    """Write everything into the study's directory; returns the files to look at first."""
    roof = next(point["result"] for point in points if point["kind"] == "roofline")
    sizes = _sizes(study)
    configs = [point.config for point in study.points]
    table = _rates(points, configs, roof, sizes)
    marks = _marks(points, configs)
    out = study.directory
    _csv(out / "rates.csv", table, COLUMNS)
    pictures: list[tuple[str, Callable[[Path], None]]] = []
    if table:
        pictures += [("rates.png", lambda path: figures.rates(path, table, roof))]
        pictures += [("roofline.png", lambda path: figures.roofline(path, table, roof))]
        pictures += [("costs.png", lambda path: figures.costs(path, table))]
    if marks:
        _csv(out / "marks.csv", marks, MARK_COLUMNS)
        pictures += [("marks.png", lambda path: figures.marks(path, marks, study.scale.mark))]
        pictures += [("samples.png", lambda path: figures.samples(path, marks, study.scale.mark))]
    grid = cells(_grid(points, configs))
    if grid:
        write_atomically(out / "grid.csv", grid_text.as_csv(study.scale, grid))
        axes = list(study.scale.grid.axes)
        pictures += [(grid_text.PICTURE, lambda path: figures.isoefficiency(path, axes, grid, study.scale.mark))]
    for name, draw in pictures:
        draw(out / name)
    text = _markdown(study, points, table, marks, grid, roof, command)
    write_atomically(out / "report.md", text)
    write_atomically(out / "report.html", _html(text, out))
    return [out / "report.html", out / "report.md", out / "rates.csv"]


def _sizes(study: Any) -> tuple[int, int]:
    from sacbrax.training.trainer import Trainer

    config = next(point.config for point in study.points if point.config is not None)
    trainer = Trainer(config)
    return trainer.observation_size, trainer.action_size


def _by_axis(points: Sequence[Mapping[str, Any]], configs: Sequence[Any], kind: str) -> Any:
    for point, config in zip(points, configs, strict=True):
        if point["kind"] == kind:
            for axis in point["axes"]:
                yield axis, place(config, axis), point["result"], config


def _rates(points: Any, configs: Any, roof: Mapping[str, Any], sizes: tuple[int, int]) -> Table:
    table: Table = {}
    for axis, x, result, config in _by_axis(points, configs, "rates"):
        flops, moved = figures.work(config, sizes)
        rate, calls = result["gradient_steps_per_second"], result["vector_steps_per_second"]
        table.setdefault(axis, []).append(
            {
                "x": x,
                "env_steps_per_second": result["env_steps_per_second"],
                "gradient_steps_per_second": rate,
                "spread": f"{calls['lowest'] / calls['median']:.2f}-{calls['highest'] / calls['median']:.2f}",
                "flops": flops,
                "bytes": moved,
                "intensity": flops / moved,
                "of_matmul": flops * rate / roof["matmul_flops_per_second"],
                "of_roof": flops * rate / bound(roof, flops, moved),
                "compile_seconds": result["compile_seconds"],
                "peak_bytes": result["peak_device_bytes"] or result["peak_rss_bytes"],
                "state_bytes": result["predicted_bytes"],
            }
        )
    return {axis: sorted(rows, key=lambda row: row["x"]) for axis, rows in table.items()}


def _marks(points: Any, configs: Any) -> Table:
    table: Table = {}
    for axis, x, result, _ in _by_axis(points, configs, "mark"):
        table.setdefault(axis, []).append({"x": x, "env_steps": None, "gradient_steps": None} | result)
    return {axis: sorted(rows, key=lambda row: row["x"]) for axis, rows in table.items()}


def _grid(points: Any, configs: Any) -> Any:
    for point, config in zip(points, configs, strict=True):
        if point["kind"] == "grid":
            yield tuple(place(config, axis) for axis in point["axes"]), point["result"]


def _cell(row: Mapping[str, Any], key: str, form: str) -> str:
    value = row[key]
    if value is None:
        return "not reached"
    return form.format(value / 2**20 if key.endswith("_bytes") else value)


def _lines(axis: str, rows: Sequence[Mapping[str, Any]], columns: Any) -> str:
    head = [figures.name(axis), *(title for _, title, _ in columns)]
    cells = [[f"{row['x']:g}", *(_cell(row, key, form) for key, _, form in columns)] for row in rows]
    return tables.Table(head, cells, frozenset(head)).markdown().rstrip()


def _tables(table: Table, columns: Any, first: int) -> str:
    return "\n\n".join(
        f"*Table {i}. Along {axis}.*\n\n{_lines(axis, rows, columns)}"
        for i, (axis, rows) in enumerate(table.items(), start=first)
    )


def _csv(path: Path, table: Table, columns: Any) -> None:
    keys = [key for key, _, _ in columns]
    rows = ([axis, row["x"], *(row[key] for key in keys)] for axis, own in table.items() for row in own)
    write_atomically(path, tables.csv_text(["axis", "value", *keys], rows))


def _markdown(
    study: Any,
    points: Sequence[Mapping[str, Any]],
    table: Table,
    marks: Table,
    grid: Sequence[Cell],
    roof: Mapping[str, Any],
    command: str,
) -> str:
    scale, timing, machine = study.scale, study.config, roof["machine"]
    memory, cache = (roof["bytes_per_second"][level] for level in ("memory", "cache"))
    peak, triads = roof["matmul_flops_per_second"], roof["triad_bytes"]
    text = TEMPLATE.format(
        scale=timing.scale,
        base=study.base,
        fixed=", ".join(f"{key} = {value}" for key, value in scale.fixed.items()) or "nothing",
        grows=", ".join(f"{key} = {value} * env.num_envs" for key, value in scale.per_env.items()) or "nothing",
        repeats=timing.repeats,
        seconds=timing.seconds,
        size=roof["matmul_size"],
        large=triads["memory"] / 2**20,
        small=triads["cache"] / 2**20,
        machine=processor() if machine["platform"] == "cpu" else machine["device"],
        cpus=machine["cpus"],
        platform=machine["platform"],
        peak=peak / 1e9,
        memory=memory / 1e9,
        cache=cache / 1e9,
        memory_ridge=peak / memory,
        cache_ridge=peak / cache,
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        revision=(git_revision() or "unknown")[:12],
        date=date.today().isoformat(),
        command=command,
    )
    figure = 1
    if table:
        text += RATES_TEMPLATE.format(tables=_tables(table, COLUMNS, first=1))
        figure += 3
    if marks:
        text += MARK_TEMPLATE.format(
            mark=scale.mark,
            updates=scale.mark_updates,
            seed=_seed(study),
            tables=_tables(marks, MARK_COLUMNS, first=len(table) + 1),
            figure=figure,
            next_figure=figure + 1,
        )
        figure += 2
    if grid:
        text += grid_text.section(scale, grid, _seed(study), figure, table=len(table) + len(marks) + 1)
    commands = "\n".join(str(point["command"]) for point in points)
    return f"{text}\n## Commands\n\n```\n{commands}\n```\n"


def _seed(study: Any) -> int:
    return next(point.config.train.seed for point in study.points if point.config is not None)


def _html(text: str, folder: Path) -> str:
    """One page with its pictures inside."""
    from markdown_it import MarkdownIt

    def inside(match: re.Match[str]) -> str:
        data = base64.b64encode((folder / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{data}"'

    body = re.sub(r'src="([^"]+\.png)"', inside, MarkdownIt("commonmark").enable("table").render(text))
    head = f'<meta charset="utf-8"><title>{text.splitlines()[0].lstrip("# ")}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}</body></html>\n'
