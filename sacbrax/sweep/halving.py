"""Successive halving (ASHA, arXiv:1810.05934): trials that are not among the best at some evaluations end there, and
others take their slots.

Which trial is in which slot when is a function of the evaluations so far alone, so that a program which goes on from a
checkpoint needs nothing but its log. The rule itself is Optuna's pruner. Knows no JAX.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from sacbrax.config import ConfigError
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
    found = [Stay(i, i, 0) for i in range(min(slots, trials))]
    curves: list[list[float]] = [[] for _ in range(trials)]
    for row in range(1, rows):
        going = [stay for stay in found if stay.end is None]
        for stay in going:
            curves[stay.trial].append(float(scores[row, stay.slot]))
        for stay in going:
            curve, age = curves[stay.trial], row - stay.begin
            if age < budget and is_rung(age, config):
                rivals = [each[age - 1] for each in (*others, *curves) if each is not curve and len(each) >= age]
                stay.pruned = pruned(curve[-1], rivals, config.factor)
            if stay.pruned or age == budget:
                stay.end = row
        for stay in going:
            if stay.end is not None and len(found) < trials:
                found.append(Stay(len(found), stay.slot, row))
    return found


def is_rung(evaluations: int, config: HalvingConfig) -> bool:
    """Whether trials are judged after so many."""
    rung = config.first
    while rung < evaluations:
        rung *= config.factor
    return rung == evaluations


def pruned(value: float, rivals: Sequence[float], factor: int) -> bool:
    """Whether Optuna's pruner ends a trial with `value` where `rivals` have come as far. It is asked last, so that it
    is judged among all; trials that train side by side arrive at once."""
    optuna = _optuna()
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
    study, ends = optuna.create_study(direction="maximize", pruner=pruner), False
    for each in (*rivals, value):
        trial = study.ask()
        trial.report(each, 1)
        ends = trial.should_prune()
    return bool(ends)


@functools.cache
def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError("pruner: optuna is not installed; pip install 'sacbrax[optuna]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
