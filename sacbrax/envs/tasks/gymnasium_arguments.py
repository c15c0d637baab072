"""Gymnasium's own arguments of a v5 task: whether what a configuration gives is one of them, and of its type.

A task lists those it has, with Gymnasium's defaults; a test compares the lists with Gymnasium's constructors. Cameras
and windows are no part of a task.
"""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from sacbrax.core.errors import ConfigError
from sacbrax.core.types import Array

ENDLESS = (-math.inf, math.inf)


def arguments(task: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> SimpleNamespace:
    """The arguments by name: those `given`, lists as tuples, and the defaults of the rest.

    Raises ConfigError for one that is unknown, or of another kind than its default.
    """
    for name, value in given.items():
        if name not in defaults:
            raise ConfigError(f"env.kwargs: {name}: unknown for {task}; choose from {', '.join(defaults)}")
        expected = _expected(name, defaults[name], value)
        if expected is not None:
            raise ConfigError(f"env.kwargs: {name}: expected {expected}, got {value!r}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return SimpleNamespace(**{**defaults, **plain})


def _expected(name: str, default: Any, value: Any) -> str | None:
    """What `value` should be and is not; None where it is."""
    if name == "main_body":
        return None if isinstance(value, str) or _whole(value, 0) else "a body's name or its number from 0 on"
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int):
        return None if _whole(value, 1) else "a whole number from 1 on"
    if isinstance(default, str):
        return None if isinstance(value, str) else "the name of a file"
    if isinstance(default, tuple):
        pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_number, value))
        return None if pair and value[0] < value[1] else "two numbers, the smaller one first"
    if name == "reset_noise_scale":
        return None if _number(value) and 0 <= value < math.inf else "a number from 0 on"
    return None if _number(value) and math.isfinite(value) else "a number"


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def weighted(weight: float, x: Array) -> Array:
    """weight * x; a weight of 1 or -1 is no multiplication in the program."""
    return x if weight == 1 else -x if weight == -1 else weight * x
