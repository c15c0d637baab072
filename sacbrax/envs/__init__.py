"""Environments: tasks by name, and the machinery around one: wrappers, time limits, resets. Knows no learning."""

from sacbrax.envs.registry import (
    ENVS,
    Env,
    compiled,
    compiler_options,
    engine_of,
    for_training,
    from_config,
    make_env,
    mujoco_model,
    randomized,
)

__all__ = [
    "ENVS",
    "Env",
    "compiled",
    "compiler_options",
    "engine_of",
    "for_training",
    "from_config",
    "make_env",
    "mujoco_model",
    "randomized",
]
