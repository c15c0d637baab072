"""What tasks with a MuJoCo model and an engine of ours share. Knows no observation, no reward and no engine."""

from typing import ClassVar

import jax.numpy as jnp
import mujoco

from sacbrax.core.types import Array
from sacbrax.engines.engine import Engine, MakeEngine
from sacbrax.engines.upstream import Env


class MujocoTask(Env):
    """One environment whose step is `frame_skip` time steps of an engine under the same controls."""

    frame_skip: int
    default_engine: ClassVar[str] = "fused"  # where the configuration names none
    engine: Engine

    def __init__(self, model: mujoco.MjModel, engine: MakeEngine) -> None:
        self.model = model
        self.dt = float(model.opt.timestep * self.frame_skip)  # s per environment step
        self.engine = engine(model, self.frame_skip)
        low, high = model.actuator_ctrlrange.T
        self._ctrl_middle, self._ctrl_half = (high + low) / 2, (high - low) / 2

    @property
    def backend(self) -> str:
        return self.engine.name

    @property
    def action_size(self) -> int:
        return int(self.model.nu)

    def ctrl(self, action: Array) -> Array:
        """Controls [nu] of an action [A] in [-1, 1], which is the whole range of the actuators."""
        return jnp.asarray(self._ctrl_middle, action.dtype) + jnp.asarray(self._ctrl_half, action.dtype) * action
