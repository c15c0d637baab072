"""The values that a sweep's keys may take: choices and ranges, read, drawn from, and moved within. Knows no JAX."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sacbrax.config import ConfigError

RANGES = ("uniform", "log_uniform")


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from low to high, evenly or evenly in the logarithm."""

    low: float
    high: float
    log: bool

    def draw(self, generator: np.random.Generator) -> float:
        """One number."""
        if not self.log:
            return float(generator.uniform(self.low, self.high))
        return float(np.exp(generator.uniform(math.log(self.low), math.log(self.high))))

    def moved(self, value: float, share: float) -> float:
        """`value` times 1 + share, or where the range is even, plus that share of its width; held within the range."""
        far = value * (1.0 + share) if self.log else value + share * (self.high - self.low)
        return min(max(far, self.low), self.high)


Values = Range | Sequence[Any]
Space = Mapping[str, Values]  # by configuration key


def draw(space: Space, generator: np.random.Generator) -> dict[str, Any]:
    """A value for each key."""
    return {
        key: values.draw(generator) if isinstance(values, Range) else values[int(generator.integers(len(values)))]
        for key, values in space.items()
    }


def read(vary: Mapping[str, Any], grid: bool) -> dict[str, Values]:
    """The space that the key `vary` describes. Raises `ConfigError`."""
    return {key: _values(key, value, grid) for key, value in vary.items()}


def _values(key: str, value: Any, grid: bool) -> Values:
    name = f"vary.{key}"
    if isinstance(value, Mapping) and list(value) == ["choice"]:
        value = value["choice"]
    if isinstance(value, list):
        if not value:
            raise ConfigError(f"{name}: expected at least one choice")
        return tuple(_number(choice) for choice in value)
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in RANGES:
        raise ConfigError(f"{name}: expected a list of choices, {{uniform: [a, b]}} or {{log_uniform: [a, b]}}")
    kind, ends = next(iter(value.items()))
    if grid:
        raise ConfigError(f"{name}: a grid has lists of choices; use search: random for {kind}")
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}.{kind}: expected two numbers [a, b]") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (kind == "log_uniform" and low <= 0):
        positive = "positive and " if kind == "log_uniform" else ""
        raise ConfigError(f"{name}.{kind}: expected two numbers, {positive}the first below the second, got {ends}")
    return Range(low, high, kind == "log_uniform")


def _number(choice: Any) -> Any:
    """PyYAML reads 3e-4 as a text."""
    try:
        return float(choice) if isinstance(choice, str) else choice
    except ValueError:
        return choice
