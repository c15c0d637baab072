"""Soft Actor-Critic in JAX: simulation, replay and learning in one compiled program.

`train(config)`, `make_env(name, engine=...)` and `load_policy(source)` are loaded on first use, so that importing the
package costs nothing and touches no device.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["Config", "ConfigError", "__version__", "load_config", "load_policy", "make_env", "train"]

_LAZY = {
    "Config": ("sacbrax.config", "Config"),
    "ConfigError": ("sacbrax.config", "ConfigError"),
    "load_config": ("sacbrax.config", "load"),
    "load_policy": ("sacbrax.policy_file.files", "load_policy"),
    "make_env": ("sacbrax.envs", "make_env"),
}


def __getattr__(name: str) -> Any:
    if name == "train":
        return importlib.import_module("sacbrax.train")
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'sacbrax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
