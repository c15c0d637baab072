"""The fused engine of planar mechanisms: MuJoCo's physics of the half-cheetah and its like as arithmetic on rows."""

import dataclasses
import functools

import jax.numpy as jnp
import mujoco
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines import batched
from sacbrax.engines.fused_tree import FusedTree, compare_with_mujoco
from sacbrax.engines.integrators import INTEGRATORS
from sacbrax.engines.planar.acceleration import acceleration, motor_forces
from sacbrax.engines.planar.derived import Derived, derive
from sacbrax.engines.planar.dynamics import factored, motion, substituted
from sacbrax.engines.planar.mechanism import Mechanism, read_mechanism
from sacbrax.engines.planar.travelling import from_the_origin
from sacbrax.engines.rows import Rows, plus

LONG = 2048  # XLA divides work on longer arrays among threads, which the one native function of a block cannot do


class FusedPlanar(FusedTree):
    """Steps a planar `model` by `frame_skip` time steps of its own integrator."""

    def __init__(self, model: mujoco.MjModel, frame_skip: int, placed_bodies: bool = False) -> None:
        self.mechanism = read_mechanism(model, placed_bodies)
        compare_with_mujoco(model, functools.partial(_smooth, self.mechanism))
        super().__init__(_Steps(self.mechanism, frame_skip), _Steps(self.mechanism, frame_skip, recalls=True))

    def recalled(self, qpos: Array, qvel: Array, ctrl: Array) -> tuple[Array, Array, tuple[Array, Array, Array]]:
        """(qpos, qvel) after `frame_skip` time steps; and of the last evaluation of the dynamics positions, velocities
        and accelerations."""
        qpos, qvel, last = batched.step(self._recalled, qpos, qvel, ctrl)
        return qpos, qvel, _parts(last)

    def _derived_at(self, qpos: Array, qvel: Array) -> Derived:
        q, v = list(qpos[:, None]), list(qvel[:, None])
        near, _ = from_the_origin(self.mechanism, q)
        unknown, idle = [jnp.zeros_like(x) for x in v], [0.0] * len(self.mechanism.motors)
        _, a = acceleration(self.mechanism, near, v, idle, unknown, 0)
        return derive(self.mechanism, qpos, qvel, q, v, a)

    def _derived(self, qpos: Array, qvel: Array, last: Array) -> Derived:
        return derive(self.mechanism, qpos, qvel, *(list(x[:, None]) for x in _parts(last)))


def _parts(last: Array) -> tuple[Array, Array, Array]:
    """Positions, velocities and accelerations of what is remembered, [3 nv]."""
    n = last.shape[0] // 3
    return last[n : 2 * n], last[2 * n :], last[:n]


@dataclasses.dataclass(frozen=True, eq=False)
class _Steps:
    """`frame_skip` time steps of a batch."""

    mechanism: Mechanism
    frame_skip: int
    recalls: bool = False  # the state and the accelerations of the last evaluation, [N, 3 nv]

    @property
    def memory(self) -> int:
        return 3 * len(self.mechanism.dofs) * self.recalls

    @property
    def block(self) -> int:
        """Environments of a block on a CPU: fewer where many contacts make arrays of `LONG` numbers of them."""
        rows = max(len(self.mechanism.contacts), len(self.mechanism.pairs), 1)
        room = max(LONG // rows, batched.LANES)
        return min(batched.BLOCK, 1 << room.bit_length() - 1)

    def integrate(self, once: batched.Once, qpos: Array, qvel: Array, *inputs: Array) -> tuple[Array, ...]:
        """Of arrays [N, ...]; the only input is the controls."""
        mechanism, h = self.mechanism, self.mechanism.timestep
        q, v, forces = list(qpos.T), list(qvel.T), motor_forces(mechanism, list(inputs[0].T))
        implicit = h if mechanism.implicit else 0.0
        q, gone = from_the_origin(mechanism, q)

        def accelerate(q: Rows, v: Rows, forces: Rows, memory: Rows) -> tuple[Rows, Rows]:
            a, guess = acceleration(mechanism, q, v, forces, memory[: len(v)], implicit)
            return a, [*guess, *q, *v] if self.recalls else guess

        memory = [jnp.zeros_like(x) for x in v] + ([*q, *v] if self.recalls else [])
        q, v, memory = INTEGRATORS[mechanism.integrator](accelerate, h, self.frame_skip, q, v, forces, memory, once)
        found = [plus(q, gone), v]
        if self.recalls:
            still = [0.0] * len(v)
            found.append(plus(memory, [*still, *gone, *still]))
        return tuple(jnp.stack(rows, axis=1) for rows in found)


def _smooth(mechanism: Mechanism, data: mujoco.MjData) -> Rows:
    """Accelerations [nv] without contacts and limits."""
    state = motion(
        mechanism, list(data.qpos), list(data.qvel), list(data.qfrc_actuator), lambda x: (np.sin(x), np.cos(x))
    )
    tree = factored(mechanism, state.axis, state.inertia, [0.0] * len(mechanism.dofs))
    return substituted(mechanism, state.axis, tree, state.force, {})[0]
