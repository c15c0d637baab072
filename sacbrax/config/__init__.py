"""Every number a run depends on: keys with ranges, from YAML and overrides. Imports `core` alone; knows no JAX."""

from sacbrax.config.config import (
    PARTS,
    Config,
    ConfigError,
    EnvConfig,
    LoggingConfig,
    NetworkConfig,
    ParallelConfig,
    ScheduleConfig,
    apply_override,
    find,
    flat,
    from_mapping,
    load,
    parse,
    shipped_configs,
    trainable_configs,
)

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
    "shipped_configs",
    "trainable_configs",
]
