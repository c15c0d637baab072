"""The report's section on a grid of runs to the mark, and its rows as CSV."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from sacbrax.study import figures
from sacbrax.study.grid import COSTS, Cell, best
from sacbrax.view.tables import Table, csv_text

FORMS = {"seconds": "{:,.1f}", "env_steps": "{:,.0f}", "gradient_steps": "{:,.0f}"}
TITLES = {"seconds": "seconds", "env_steps": "env steps", "gradient_steps": "gradient steps"}
PICTURE = "isoefficiency.png"
TEMPLATE = """
## All combinations, to a return of {mark:g}

Runs of every combination of {axes}, {seeds} of each with seeds from {first_seed} on, one after the other, each at most
about {updates:,} gradient steps long, with an evaluation about every {eval_updates:,}. Costs are medians over the runs,
in which one that never came to the mark counts as infinity: "not reached" is of half of the runs or more. Seconds are
from the start of the process, without compilation.

![Figure {figure}]({picture})

*Figure {figure}. Cost to the mark over the first two settings, each the least over all others, with lines of equal
efficiency at every doubling. Right: environment steps against gradient steps of every combination.*

*Table {table}. For each value of {first}: the least cost, and with which {others}.*

{answer}

*Table {next_table}. All combinations.*

{all}
"""


def section(scale: Any, cells: Sequence[Cell], first_seed: int, figure: int, table: int) -> str:
    """Markdown, for a report whose figures and tables are numbered on from these."""
    names = [figures.name(axis) for axis in scale.grid.axes]
    return TEMPLATE.format(
        mark=scale.mark,
        axes=", ".join(names[:-1]) + f" and {names[-1]}",
        seeds=scale.grid.seeds,
        first_seed=first_seed,
        updates=scale.grid.updates,
        eval_updates=scale.grid.eval_updates,
        figure=figure,
        picture=PICTURE,
        table=table,
        next_table=table + 1,
        first=names[0],
        others=" and ".join(names[1:]),
        answer=_table([names[0], *(f"least {TITLES[cost]}" for cost in COSTS)], _least(cells)),
        all=_table([*names, "reached", *TITLES.values()], _rows(cells)),
    )


def as_csv(scale: Any, cells: Sequence[Cell]) -> str:
    """One line for each combination; a cost that is not known is empty."""
    fields = [field.name for field in dataclasses.fields(Cell)][1:]
    rows = ([*cell.values, *(_finite(getattr(cell, field)) for field in fields)] for cell in cells)
    return csv_text([*scale.grid.axes, *fields], rows)


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else ""


def _least(cells: Sequence[Cell]) -> Iterator[list[str]]:
    winners = [best(cells, (0,), cost) for cost in COSTS]
    for row in zip(*winners, strict=True):
        texts = (_with_others(cell, cost) for cell, cost in zip(row, COSTS, strict=True))
        yield [f"{row[0].values[0]:g}", *texts]


def _with_others(cell: Cell, cost: str) -> str:
    if not math.isfinite(getattr(cell, cost)):
        return "not reached"
    return f"{_cost(cell, cost)} ({', '.join(f'{value:g}' for value in cell.values[1:])})"


def _rows(cells: Sequence[Cell]) -> Iterator[list[str]]:
    for cell in cells:
        values = (f"{value:g}" for value in cell.values)
        yield [*values, f"{cell.reached} of {cell.runs}", *(_cost(cell, cost) for cost in COSTS)]


def _cost(cell: Cell, cost: str) -> str:
    value = getattr(cell, cost)
    return FORMS[cost].format(value) if math.isfinite(value) else "not reached"


def _table(head: list[str], rows: Iterator[list[str]]) -> str:
    return Table(head, list(rows), frozenset(head)).markdown().rstrip()
