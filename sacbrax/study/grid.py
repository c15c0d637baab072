"""What runs of all combinations of some settings to a return mark say: medians over seeds, and which is best."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

COSTS = ("seconds", "env_steps", "gradient_steps")  # of a cell


@dataclasses.dataclass(frozen=True)
class Cell:
    """One combination of values. The costs are medians over its runs, in which one that never came to the mark counts
    as infinity; seconds are without compilation."""

    values: tuple[float, ...]  # of the axes, in their order
    runs: int
    reached: int
    seconds: float
    env_steps: float
    gradient_steps: float


def cells(runs: Iterable[tuple[tuple[float, ...], Mapping[str, Any]]]) -> list[Cell]:
    """From the values and the result of every run, in the order of the values."""
    groups: dict[tuple[float, ...], list[Mapping[str, Any]]] = {}
    for values, result in runs:
        groups.setdefault(values, []).append(result)
    return [_cell(values, results) for values, results in sorted(groups.items())]


def _cell(values: tuple[float, ...], results: Sequence[Mapping[str, Any]]) -> Cell:
    reached = [result for result in results if result["seconds"] is not None]
    missing = [math.inf] * (len(results) - len(reached))
    keys = ("seconds_without_compilation", "env_steps", "gradient_steps")
    costs = (float(np.median([*(result[key] for result in reached), *missing])) for key in keys)
    return Cell(values, len(results), len(reached), *costs)


def best(found: Sequence[Cell], places: Sequence[int], cost: str) -> list[Cell]:
    """For each combination of the axes at `places` the cell of least `cost` over all other axes."""
    least: dict[tuple[float, ...], Cell] = {}
    for cell in found:
        key = tuple(cell.values[place] for place in places)
        if key not in least or getattr(cell, cost) < getattr(least[key], cost):
            least[key] = cell
    return list(least.values())
