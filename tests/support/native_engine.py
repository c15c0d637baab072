"""C MuJoCo as an engine, by callbacks: a task's own arithmetic can be compared with Gymnasium's without compiling."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import mujoco
import numpy as np
from flax import struct

DERIVED = ("xpos", "xipos", "site_xpos", "cinert", "cvel", "cfrc_ext", "qfrc_actuator", "qfrc_constraint")


class Data(struct.PyTreeNode):
    """What a task may read, named as in `mjData`."""

    qpos: Any
    qvel: Any
    derived: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name == "_impl":  # where MJX keeps some of them
            return self
        try:
            return self.derived[name]
        except KeyError:
            raise AttributeError(name) from None


class Native:
    """Steps `model` by `frame_skip` time steps, as Gymnasium does; double precision."""

    name = "native"

    def __init__(self, model: mujoco.MjModel, frame_skip: int) -> None:
        self.model, self.frame_skip = model, frame_skip

    def start(self, qpos: Any, qvel: Any, fields: Mapping[str, Any] = MappingProxyType({})) -> Data:
        return self._call(0, qpos, qvel, np.zeros(self.model.nu))

    def advance(
        self, qpos: Any, qvel: Any, warmstart: Any, ctrl: Any, fields: Mapping[str, Any] = MappingProxyType({})
    ) -> Data:
        return self._call(self.frame_skip, qpos, qvel, ctrl)

    def step(self, qpos: Any, qvel: Any, ctrl: Any, fields: Mapping[str, Any] = MappingProxyType({})) -> Any:
        data = self.advance(qpos, qvel, None, ctrl)
        return data.qpos, data.qvel

    def _call(self, frames: int, *state: Any) -> Data:
        names = ("qpos", "qvel", *DERIVED)
        template = mujoco.MjData(self.model)
        shapes = [jax.ShapeDtypeStruct(getattr(template, name).shape, state[0].dtype) for name in names]

        def run(*batch: Any) -> list[np.ndarray]:
            leading = np.broadcast_shapes(*(x.shape[:-1] for x in batch))
            rows = [np.broadcast_to(x, (*leading, x.shape[-1])).reshape(-1, x.shape[-1]) for x in batch]
            found = [self._one(frames, names, *row) for row in zip(*rows, strict=True)]
            return [
                np.stack(column).reshape(*leading, *shape.shape).astype(shape.dtype)
                for column, shape in zip(zip(*found, strict=True), shapes, strict=True)
            ]

        qpos, qvel, *derived = jax.pure_callback(run, shapes, *state, vmap_method="broadcast_all")
        return Data(qpos, qvel, dict(zip(DERIVED, derived, strict=True)))

    def _one(self, frames: int, names: tuple[str, ...], qpos: Any, qvel: Any, ctrl: Any) -> list[np.ndarray]:
        data = mujoco.MjData(self.model)
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self.model, data)  # where the solver starts
        if frames:
            data.ctrl[:] = ctrl
            mujoco.mj_step(self.model, data, frames)
            mujoco.mj_rnePostConstraint(self.model, data)
        return [getattr(data, name).copy() for name in names]
