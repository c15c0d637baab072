"""The fused engine of planar mechanisms: MuJoCo's physics of the half-cheetah and its like as arithmetic on rows."""

from collections.abc import Mapping
from types import MappingProxyType

import jax.numpy as jnp
import mujoco
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines import batched
from sacbrax.engines.engine import refuse
from sacbrax.engines.integrators import euler, rk4
from sacbrax.engines.planar.acceleration import acceleration, motor_forces
from sacbrax.engines.planar.dynamics import factored, motion, substituted
from sacbrax.engines.planar.mechanism import Mechanism, read_mechanism
from sacbrax.engines.planar.rows import Rows


class FusedPlanar:
    """Steps a planar `model` by `frame_skip` time steps of its own integrator."""

    name = "fused"

    def __init__(self, model: mujoco.MjModel, frame_skip: int) -> None:
        self.frame_skip = frame_skip
        self.mechanism = read_mechanism(model)
        _compare_with_mujoco(model, self.mechanism)

    def step(
        self, qpos: Array, qvel: Array, ctrl: Array, fields: Mapping[str, Array] = MappingProxyType({})
    ) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps."""
        if fields:
            raise ValueError("env.randomize: the fused engine of this task has one model; use env.engine=mjx")
        return batched.step(self, qpos, qvel, ctrl)

    def integrate(self, once: batched.Once, qpos: Array, qvel: Array, *inputs: Array) -> tuple[Array, Array]:
        """`frame_skip` time steps of [N, ...] arrays."""
        mechanism, h = self.mechanism, self.mechanism.timestep
        q, v, forces = list(qpos.T), list(qvel.T), motor_forces(mechanism, list(inputs[0].T))
        implicit = h if mechanism.integrator == "Euler" else 0.0

        def accelerate(q: Rows, v: Rows, forces: Rows, guess: Rows) -> tuple[Rows, Rows]:
            return acceleration(mechanism, q, v, forces, guess, implicit)

        integrate = rk4 if mechanism.integrator == "RK4" else euler
        at_rest = [jnp.zeros_like(x) for x in v]
        q, v = integrate(accelerate, h, self.frame_skip, q, v, forces, at_rest, once)
        return jnp.stack(q, axis=1), jnp.stack(v, axis=1)


def _compare_with_mujoco(model: mujoco.MjModel, mechanism: Mechanism) -> None:
    """Refuse a model whose accelerations, without contacts and limits, are not MuJoCo's in a few random states: it has
    what nobody thought of. NumPy in float64."""
    rng, data = np.random.default_rng(0), mujoco.MjData(model)
    for _ in range(4):
        data.qpos[:] = model.qpos0 + rng.uniform(-0.5, 0.5, model.nq)
        data.qvel[:], data.ctrl[:] = rng.normal(size=model.nv), rng.uniform(-0.5, 0.5, model.nu)
        mujoco.mj_forward(model, data)
        forces = list(data.qfrc_actuator)
        state = motion(mechanism, list(data.qpos), list(data.qvel), forces, lambda x: (np.sin(x), np.cos(x)))
        tree = factored(mechanism, state.axis, state.inertia, [0.0] * model.nv)
        found, _ = substituted(mechanism, state.axis, tree, state.force, {})
        if not np.allclose(found, data.qacc_smooth, rtol=1e-8, atol=1e-8 * max(1.0, np.abs(data.qacc_smooth).max())):
            refuse("something in this model: its accelerations differ from MuJoCo's")
