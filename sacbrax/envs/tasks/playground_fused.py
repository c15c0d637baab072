"""The fused engine under MuJoCo Playground's own code: tasks of DM Control whose mechanism moves in a plane.

These tasks ask MJX for two things, a time step and what is derived of a state. While their reset or step is traced the
first is the fused engine's. The second are places, velocities and their sensors, by MJX, without its solver: forces and
accelerations would be those of no state, so the tasks that read none are listed, each with its test.
"""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from sacbrax.core.types import Array
from sacbrax.engines.planar.engine import FusedPlanar
from sacbrax.engines.upstream import mjx

TASKS = (
    *("AcrobotSwingup", "AcrobotSwingupSparse"),
    *("CartpoleBalance", "CartpoleBalanceSparse", "CartpoleSwingup", "CartpoleSwingupSparse"),
    *("CheetahRun", "PendulumSwingup", "ReacherEasy", "ReacherHard", "WalkerRun", "WalkerStand", "WalkerWalk"),
)


class FusedPhysics:
    """Of Playground's environment `env`, its task `task`. Raises ValueError, one line, for one that is not covered."""

    def __init__(self, task: str, env: Any) -> None:
        if task not in TASKS:
            raise ValueError(
                f"env.engine: fused does not cover playground:{task}; choose mjx, or of {', '.join(TASKS)}"
            )
        self._model = env.mj_model
        self._engines = {env.n_substeps: self._make(env.n_substeps)}  # by time steps; a reset may have its own number

    def _make(self, steps: int) -> FusedPlanar:
        return FusedPlanar(self._model, steps, placed_bodies=True)  # whose places are MJX's to tell

    @contextlib.contextmanager
    def instead_of_mjx(self) -> Iterator[None]:
        """Playground's code that is traced in here steps by the fused engine."""
        theirs: Any = importlib.import_module("mujoco_playground._src.mjx_env")
        own = theirs.step, mjx.forward
        theirs.step, mjx.forward = self._step, derived
        try:
            yield
        finally:
            theirs.step, mjx.forward = own

    def _step(self, model: Any, data: Any, action: Array, n_substeps: int = 1) -> Any:
        """As Playground's: what is derived belongs, as in MuJoCo, to the last evaluation of the dynamics."""
        if n_substeps not in self._engines:
            self._engines[n_substeps] = self._make(n_substeps)
        qpos, qvel, (q, v, _) = self._engines[n_substeps].recalled(data.qpos, data.qvel, action)
        last = derived(model, data.replace(qpos=q, qvel=v))
        time = data.time + n_substeps * self._model.opt.timestep
        return last.replace(qpos=qpos, qvel=qvel, ctrl=action, time=time)


def derived(model: Any, data: Any) -> Any:
    """MJX's data with places, velocities and their sensors of its qpos and qvel. What nobody reads costs nothing."""
    data = mjx.sensor_pos(model, mjx.com_pos(model, mjx.kinematics(model, data)))
    return mjx.sensor_vel(model, mjx.com_vel(model, data))
