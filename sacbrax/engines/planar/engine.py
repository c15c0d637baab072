"""The fused engine of planar mechanisms: MuJoCo's physics of the half-cheetah and its like as arithmetic on rows."""

from collections.abc import Mapping
from types import MappingProxyType

import jax.numpy as jnp
import mujoco

from sacbrax.core.types import Array
from sacbrax.engines import batched
from sacbrax.engines.planar.integrate import euler, joint_forces, rk4
from sacbrax.engines.planar.mechanism import read_mechanism


class FusedPlanar:
    """Steps a planar `model` by `frame_skip` time steps of its own integrator."""

    name = "fused"

    def __init__(self, model: mujoco.MjModel, frame_skip: int) -> None:
        self.frame_skip = frame_skip
        self.mechanism = read_mechanism(model)

    def step(
        self, qpos: Array, qvel: Array, ctrl: Array, fields: Mapping[str, Array] = MappingProxyType({})
    ) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps."""
        if fields:
            raise ValueError("env.randomize: the fused engine of this task has one model; use env.engine=mjx")
        return batched.step(self, qpos, qvel, ctrl)

    def integrate(self, once: batched.Once, qpos: Array, qvel: Array, *inputs: Array) -> tuple[Array, Array]:
        """`frame_skip` time steps of [N, ...] arrays."""
        advance = rk4 if self.mechanism.integrator == "RK4" else euler
        forces = joint_forces(self.mechanism, list(inputs[0].T))
        q, v = advance(self.mechanism, self.frame_skip, list(qpos.T), list(qvel.T), forces, once)
        return jnp.stack(q, axis=1), jnp.stack(v, axis=1)
