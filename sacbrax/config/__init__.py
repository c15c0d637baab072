"""Every number a run depends on: keys with ranges, from YAML and overrides. Imports `core` alone; knows no JAX."""

from sacbrax.config.config import (
    Config,
    find,
    flat,
    from_mapping,
    load,
    parse,
    refuse_changed,
    shipped_configs,
    traced,
    trainable_configs,
)
from sacbrax.config.option import ConfigError, ScheduleConfig, apply_override
from sacbrax.config.sections import PARTS, EnvConfig, LoggingConfig, NetworkConfig, ParallelConfig

__all__ = [
    "PARTS",
    "Config",
    "ConfigError",
    "EnvConfig",
    "LoggingConfig",
    "NetworkConfig",
    "ParallelConfig",
    "ScheduleConfig",
    "apply_override",
    "find",
    "flat",
    "from_mapping",
    "load",
    "parse",
    "refuse_changed",
    "shipped_configs",
    "traced",
    "trainable_configs",
]
