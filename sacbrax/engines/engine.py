"""What an engine is. A task steps its mechanism through this and no other door."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import mujoco

from sacbrax.core.types import Array


class Engine(Protocol):
    """Physics of one mechanism over one environment step; callers `vmap` it over environments."""

    name: str  # the engine's, as `env.engine` has it

    def step(
        self, qpos: Array, qvel: Array, ctrl: Array, fields: Mapping[str, Array] = MappingProxyType({})
    ) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps of `timestep` seconds.

        `fields` replace fields of the model by their MuJoCo names, such as "opt.density".
        """
        ...


MakeEngine = Callable[[mujoco.MjModel, int], Engine]  # of a model and the time steps of one environment step


def refuse(feature: str) -> None:
    """Raise the ValueError of a model that has what the fused engine does not cover."""
    raise ValueError(f"env.engine=fused does not cover {feature}; use env.engine=mjx")
