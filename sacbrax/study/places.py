"""Where a configuration stands on an axis of the study."""

from collections.abc import Mapping, Sequence
from typing import Any

from sacbrax.config import Config, ConfigError


def place(config: Config, axis: str) -> float:
    """The number at the configuration's key; layers stand at the first's width. Raises ConfigError where it is none."""
    section, _, key = axis.partition(".")
    value = getattr(getattr(config, section), key)
    try:
        return float(value[0] if isinstance(value, list | tuple) else value)
    except (TypeError, ValueError):
        raise ConfigError(f"{axis}: expected numbers along an axis, got {value!r}") from None


def refuse_shared(configs: Sequence[Config], axes: Mapping[str, Sequence[Any]], where: str) -> None:
    """Raise ConfigError where two values of an axis, as the configurations have them, stand at one place."""
    for axis, values in axes.items():
        if len({place(config, axis) for config in configs}) < len(values):
            raise ConfigError(f"{where}.{axis}: two of {list(values)} stand at the same place")
