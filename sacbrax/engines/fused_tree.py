"""What the fused engines of trees with contacts share: stepping, what is derived of a step, and the check of a model.

Knows no mechanism: a subclass reads its own and says how a batch is integrated.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import mujoco
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines import batched
from sacbrax.engines.engine import one_model, refuse


class FusedTree:
    """Steps by `steps`; by `recalled`, which also returns `memory` of the last evaluation of the dynamics, where what
    is derived of it is asked for."""

    name = "fused"

    def __init__(self, steps: batched.Integrates, recalled: batched.Integrates) -> None:
        self.steps, self._recalled = steps, recalled

    def step(
        self, qpos: Array, qvel: Array, ctrl: Array, fields: Mapping[str, Array] = MappingProxyType({})
    ) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps."""
        one_model(fields)
        qpos, qvel = batched.step(self.steps, qpos, qvel, ctrl)
        return qpos, qvel

    def start(self, qpos: Array, qvel: Array, fields: Mapping[str, Array] = MappingProxyType({})) -> Any:
        """What is derived of a state without controls. What the caller does not read costs nothing."""
        one_model(fields)
        return self._derived_at(qpos, qvel)

    def advance(
        self,
        qpos: Array,
        qvel: Array,
        warmstart: Array,
        ctrl: Array,
        fields: Mapping[str, Array] = MappingProxyType({}),
    ) -> Any:
        """The state after `frame_skip` time steps, and what is derived of the last evaluation of the dynamics, a little
        before, as in MuJoCo."""
        one_model(fields)
        return self._derived(*batched.step(self._recalled, qpos, qvel, ctrl))

    def _derived_at(self, qpos: Array, qvel: Array) -> Any:
        """Of a state [nq], [nv] itself."""
        raise NotImplementedError

    def _derived(self, qpos: Array, qvel: Array, last: Array) -> Any:
        """Of the last evaluation before the state, `last` [memory]."""
        raise NotImplementedError


def compare_with_mujoco(model: mujoco.MjModel, accelerations: Callable[[mujoco.MjData], Any]) -> None:
    """Refuse a model whose accelerations [nv], without contacts and limits, are not MuJoCo's in a few random states: it
    has what nobody thought of. NumPy in float64."""
    rng, data = np.random.default_rng(0), mujoco.MjData(model)
    for _ in range(4):
        data.qpos[:] = model.qpos0
        mujoco.mj_integratePos(model, data.qpos, rng.uniform(-0.5, 0.5, model.nv), 1.0)
        data.qvel[:], data.ctrl[:] = rng.normal(size=model.nv), rng.uniform(-0.5, 0.5, model.nu)
        mujoco.mj_forward(model, data)
        tolerance = 1e-8 * max(1.0, np.abs(data.qacc_smooth).max())
        if not np.allclose(accelerations(data), data.qacc_smooth, rtol=1e-8, atol=tolerance):
            refuse("something in this model: its accelerations differ from MuJoCo's")
