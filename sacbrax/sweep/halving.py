"""Successive halving (ASHA, arXiv:1810.05934): trials that are not among the best at some evaluations end there, and
others take their slots.

Which trial is in which slot when is a function of the evaluations so far alone, so that a program which goes on from a
checkpoint needs nothing but its log. The rule is that of Optuna's `SuccessiveHalvingPruner`. Knows no JAX.
"""

import bisect
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from sacbrax.config.option import option


@dataclasses.dataclass(frozen=True)
class HalvingConfig:
    """When trials are judged, and how many go on."""

    first: int = option(2, "evaluations of a trial, from its first update on, at which it is judged first", low=1)
    factor: int = option(
        3,
        "of so many trials that came there one goes on, and is judged again after so many times the evaluations",
        low=2,
    )


@dataclasses.dataclass
class Stay:
    """A trial in a slot of a program: its evaluations are the rows of the log after `begin`, to `end`."""

    trial: int  # place among the trials of the program
    slot: int
    begin: int
    end: int | None = None  # None while it goes on
    pruned: bool = False


def stays(
    scores: np.ndarray, trials: int, budget: int, config: HalvingConfig, others: Sequence[Sequence[float]] = ()
) -> list[Stay]:
    """All stays of `trials` so far, in the order in which they began; scores [E, slots], more being better.

    Row 0, before the first update, is nobody's. A trial ends after `budget` evaluations, or where the rule prunes it
    among all that came as far: those of this program, at this evaluation too, and `others`, scores of earlier ones.
    """
    rows, slots = scores.shape
    rungs = [age for age in range(1, budget) if is_rung(age, config)]
    # Of all that came as far, in order: with thousands of trials a look at each of them for each would take minutes.
    reached = {age: sorted(c[age - 1] for c in others if len(c) >= age and not math.isnan(c[age - 1])) for age in rungs}
    found = [Stay(i, i, 0) for i in range(min(slots, trials))]
    going = found.copy()
    for row in range(1, rows):
        values = [float(scores[row, stay.slot]) for stay in going]
        for stay, value in zip(going, values, strict=True):
            if row - stay.begin in reached and not math.isnan(value):
                bisect.insort(reached[row - stay.begin], value)
        for stay, value in zip(going, values, strict=True):
            age = row - stay.begin
            stay.pruned = age in reached and pruned(value, reached[age], config.factor)
            if stay.pruned or age == budget:
                stay.end = row
        free = [stay.slot for stay in going if stay.end is not None]
        begun = [Stay(trial, slot, row) for trial, slot in zip(range(len(found), trials), free, strict=False)]
        found += begun
        going = [stay for stay in going if stay.end is None] + begun
    return found


def is_rung(evaluations: int, config: HalvingConfig) -> bool:
    """Whether trials are judged after so many."""
    rung = config.first
    while rung < evaluations:
        rung *= config.factor
    return rung == evaluations


def pruned(value: float, ranked: Sequence[float], factor: int) -> bool:
    """Whether a trial with `value` ends among all that came as far, itself included, in ascending order: it is not
    among the best of `factor`, of fewer not the best; NaN, which is not among them, always does."""
    return math.isnan(value) or value < ranked[-max(len(ranked) // factor, 1)]
