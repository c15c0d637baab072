"""The fused engine of trees in space: MuJoCo's physics of the ant and its like as arithmetic on rows."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines import batched
from sacbrax.engines.engine import one_model, refuse
from sacbrax.engines.integrators import euler, rk4
from sacbrax.engines.rows import Rows
from sacbrax.engines.space.acceleration import Layout, evaluate, motor_forces, unknown
from sacbrax.engines.space.derived import Derived, Trace, derive
from sacbrax.engines.space.dynamics import UPRIGHT, motion, placed, rotation
from sacbrax.engines.space.groups import Totals
from sacbrax.engines.space.mechanism import Mechanism, read_mechanism
from sacbrax.engines.space.solve import factored, substituted


class FusedSpace:
    """Steps a tree in space by `frame_skip` time steps of its own integrator."""

    name = "fused"

    def __init__(self, model: mujoco.MjModel, frame_skip: int) -> None:
        self.mechanism = read_mechanism(model)
        _compare_with_mujoco(model, self.mechanism)
        self.steps = _Steps(self.mechanism, frame_skip)
        self._recalled = _Steps(self.mechanism, frame_skip, recalls=True)

    def step(
        self, qpos: Array, qvel: Array, ctrl: Array, fields: Mapping[str, Array] = MappingProxyType({})
    ) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps."""
        one_model(fields)
        qpos, qvel = batched.step(self.steps, qpos, qvel, ctrl)
        return qpos, qvel

    def start(self, qpos: Array, qvel: Array, fields: Mapping[str, Array] = MappingProxyType({})) -> Derived:
        """What `mj_forward` derives of a state: no forces on bodies. What the caller does not read costs nothing."""
        one_model(fields)
        none = jnp.zeros(6 * self.mechanism.bodies, qpos.dtype)
        return derive(self.mechanism, qpos, qvel, jnp.concatenate([qpos, none]))

    def advance(
        self,
        qpos: Array,
        qvel: Array,
        warmstart: Array,
        ctrl: Array,
        fields: Mapping[str, Array] = MappingProxyType({}),
    ) -> Derived:
        """The state after `frame_skip` time steps, and what is derived of the last evaluation of the dynamics, a little
        before, as in MuJoCo."""
        one_model(fields)
        return derive(self.mechanism, *batched.step(self._recalled, qpos, qvel, ctrl))


@dataclasses.dataclass(frozen=True, eq=False)
class _Steps:
    """`frame_skip` time steps of a batch."""

    mechanism: Mechanism
    frame_skip: int
    block: ClassVar[int] = 64  # environments: with four legs or 25 contacts a row is long
    recalls: bool = False  # positions of the last evaluation, and what the contacts did to the bodies then

    @property
    def memory(self) -> int:
        return self.recalls * (Layout(self.mechanism).nq + 6 * self.mechanism.bodies)

    def integrate(self, once: batched.Once, qpos: Array, qvel: Array, *inputs: Array) -> tuple[Array, ...]:
        """Of arrays [N, ...]; the only input is the controls."""
        mechanism, h, layout = self.mechanism, self.mechanism.timestep, Layout(self.mechanism)
        q, v, forces = layout.positions(qpos), layout.velocities(qvel), motor_forces(mechanism, inputs[0])
        implicit = h if mechanism.integrator == "Euler" else 0.0
        trace, guess = Trace(mechanism), unknown(mechanism, q[0])

        def accelerate(q: Rows, v: Rows, forces: Rows, memory: Rows) -> tuple[Rows, Rows]:
            found = evaluate(mechanism, q, v, forces, memory[: len(guess)], implicit)
            residuals = jax.tree.leaves(found.residuals)
            return found.moving, [*residuals, *trace.rows(q, found)] if self.recalls else residuals

        integrate = rk4 if mechanism.integrator == "RK4" else euler
        memory = [*guess, *(trace.empty(q) if self.recalls else [])]
        q_end, v_end, memory = integrate(accelerate, h, self.frame_skip, q, v, forces, memory, once, layout)
        end = layout.qpos(q_end), layout.qvel(v_end)
        return (*end, trace.columns(memory[len(guess) :])) if self.recalls else end


def _compare_with_mujoco(model: mujoco.MjModel, mechanism: Mechanism) -> None:
    """Refuse a model whose accelerations, without contacts and limits, are not MuJoCo's in a few random states: it has
    what nobody thought of. NumPy in float64."""
    rng, data, layout = np.random.default_rng(0), mujoco.MjData(model), Layout(mechanism)
    for _ in range(4):
        mujoco.mj_integratePos(model, data.qpos, rng.uniform(-0.5, 0.5, model.nv), 1.0)
        data.qvel[:], data.ctrl[:] = rng.normal(size=model.nv), rng.uniform(-0.5, 0.5, model.nu)
        mujoco.mj_forward(model, data)
        at, moving, torque = (
            read(x[None])
            for read, x in (
                (layout.positions, data.qpos),
                (layout.velocities, data.qvel),
                (layout.velocities, data.qfrc_actuator),
            )
        )
        quaternion = tuple(at[-4:]) if layout.floats else ()
        speed = layout.speed(quaternion, moving)
        q, v, forces = (layout.groups(rows) for rows in (at, moving, torque))
        root = rotation(quaternion) if layout.floats else UPRIGHT
        frames = placed(mechanism, root, q, lambda x: (np.sin(x), np.cos(x)))
        state = motion(mechanism, frames, speed, q, v, forces)
        tree = factored(mechanism, state, state.root_inertia, state.inertia, [0.0] * len(mechanism.groups))
        joints, _ = substituted(mechanism, state, tree, state.force, Totals(mechanism))
        found = layout.qvel(layout.accelerations(state, joints))[0]
        if not np.allclose(found, data.qacc_smooth, rtol=1e-8, atol=1e-8 * max(1.0, np.abs(data.qacc_smooth).max())):
            refuse("something in this model: its accelerations differ from MuJoCo's")
