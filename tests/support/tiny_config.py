"""The smallest useful configuration: it compiles in a second or two."""

import copy
from typing import Any

from sacbrax import config as config_lib
from sacbrax.config import Config

TINY: dict[str, Any] = {
    "env": {"name": "probes:Cue", "num_envs": 4, "episode_length": 5},
    "algorithm": {"gamma": 0.9, "n_step": 2, "learning_rate": 1e-3},
    "network": {"hidden_sizes": [8], "normalize_observations": True},
    "replay": {"capacity": 64},
    "train": {"total_env_steps": 96, "batch_size": 8, "updates_per_step": 2, "exploration_env_steps": 16},
    "eval": {"every_env_steps": 40, "episodes": 3},
    "run": {"compilation_cache": False},
}


def make_tiny(*overrides: str) -> Config:
    """The smallest useful configuration: a probe environment, 4 environments, one hidden layer of 8."""
    mapping = copy.deepcopy(TINY)
    for override in overrides:
        config_lib.apply_override(mapping, override)
    return config_lib.from_mapping(mapping)
