"""The fused engine of planar mechanisms: MuJoCo's physics of the half-cheetah and its like as arithmetic on rows."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import jax.numpy as jnp
import mujoco
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines import batched
from sacbrax.engines.engine import one_model, refuse
from sacbrax.engines.integrators import euler, rk4
from sacbrax.engines.planar.acceleration import acceleration, motor_forces
from sacbrax.engines.planar.derived import Derived, derive
from sacbrax.engines.planar.dynamics import factored, motion, substituted
from sacbrax.engines.planar.mechanism import Mechanism, read_mechanism
from sacbrax.engines.rows import Rows


class FusedPlanar:
    """Steps a planar `model` by `frame_skip` time steps of its own integrator."""

    name = "fused"

    def __init__(self, model: mujoco.MjModel, frame_skip: int, placed_bodies: bool = False) -> None:
        self.mechanism = read_mechanism(model, placed_bodies)
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
        """What is derived of a state without controls. What the caller does not read costs nothing."""
        one_model(fields)
        q, v = list(qpos[:, None]), list(qvel[:, None])
        _, a = acceleration(self.mechanism, q, v, [0.0] * len(self.mechanism.motors), [jnp.zeros_like(x) for x in v], 0)
        return derive(self.mechanism, qpos, qvel, q, v, a)

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
        qpos, qvel, last = self.recalled(qpos, qvel, ctrl)
        return derive(self.mechanism, qpos, qvel, *(list(x[:, None]) for x in last))

    def recalled(self, qpos: Array, qvel: Array, ctrl: Array) -> tuple[Array, Array, tuple[Array, Array, Array]]:
        """(qpos, qvel) after `frame_skip` time steps; and of the last evaluation of the dynamics positions, velocities
        and accelerations."""
        qpos, qvel, last = batched.step(self._recalled, qpos, qvel, ctrl)
        n = qvel.shape[0]
        return qpos, qvel, (last[n : 2 * n], last[2 * n :], last[:n])


@dataclasses.dataclass(frozen=True, eq=False)
class _Steps:
    """`frame_skip` time steps of a batch."""

    mechanism: Mechanism
    frame_skip: int
    recalls: bool = False  # the state and the accelerations of the last evaluation, [N, 3 nv]

    @property
    def memory(self) -> int:
        return 3 * len(self.mechanism.dofs) * self.recalls

    def integrate(self, once: batched.Once, qpos: Array, qvel: Array, *inputs: Array) -> tuple[Array, ...]:
        """Of arrays [N, ...]; the only input is the controls."""
        mechanism, h = self.mechanism, self.mechanism.timestep
        q, v, forces = list(qpos.T), list(qvel.T), motor_forces(mechanism, list(inputs[0].T))
        implicit = h if mechanism.implicit else 0.0

        def accelerate(q: Rows, v: Rows, forces: Rows, memory: Rows) -> tuple[Rows, Rows]:
            a, guess = acceleration(mechanism, q, v, forces, memory[: len(v)], implicit)
            return a, [*guess, *q, *v] if self.recalls else guess

        integrate = rk4 if mechanism.integrator == "RK4" else euler
        memory = [jnp.zeros_like(x) for x in v] + ([*q, *v] if self.recalls else [])
        out = integrate(accelerate, h, self.frame_skip, q, v, forces, memory, once)
        return tuple(jnp.stack(rows, axis=1) for rows in out[: 2 + self.recalls])


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
