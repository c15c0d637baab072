"""Numbers of the environments that move with what evaluations say, `env.curriculum`.

A function gives them from the numbers of an evaluation: {"friction_low": 0.4, ...}. They are arrays of the training
state, so they move without a recompilation and resume with it. Who uses them has an argument `curriculum`: the function
of `env.randomize`, or the task's own `reset`.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from sacbrax.config import ConfigError
from sacbrax.core.errors import TrainingError

ARGUMENT = "curriculum"


def takes(function: Callable[..., Any]) -> bool:
    """Whether `function` is given the numbers."""
    return ARGUMENT in inspect.signature(function).parameters


class Curriculum:
    """The function at the import path `name`. It must not depend on anything but its argument: a run that goes on asks
    it again."""

    def __init__(self, name: str, function: Callable[[Mapping[str, Any]], Any]) -> None:
        self._name, self._function = name, function
        try:
            self.initial = self._numbers({})
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def after(self, row: Mapping[str, Any]) -> dict[str, float]:
        """The numbers after an evaluation, whose row of the log is `row`. Raises `TrainingError`."""
        try:
            numbers = self._numbers(row)
        except ValueError as error:
            raise TrainingError(str(error)) from None
        if numbers.keys() != self.initial.keys():
            was, now = ", ".join(self.initial), ", ".join(numbers) or "nothing"
            raise TrainingError(
                f"env.curriculum: {self._name} gives {now} after an evaluation; at the start it gave {was}"
            )
        return numbers

    def _numbers(self, row: Mapping[str, Any]) -> dict[str, float]:
        given = self._function(dict(row))
        if not isinstance(given, Mapping) or not given:
            raise ValueError(f"env.curriculum: {self._name} gives {given!r}; choose a dictionary of numbers by name")
        numbers = {}
        for key, value in given.items():
            try:
                numbers[str(key)] = float(value)
            except (TypeError, ValueError):
                numbers[str(key)] = math.nan
            if not math.isfinite(numbers[str(key)]):
                raise ValueError(f"env.curriculum: {key} of {self._name} is {value!r}; choose a finite number")
        return numbers
