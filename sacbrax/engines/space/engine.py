"""The fused engine of trees in space: MuJoCo's physics of the ant and its like as arithmetic on rows."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines import batched
from sacbrax.engines.fused_tree import FusedTree, compare_with_mujoco
from sacbrax.engines.integrators import INTEGRATORS
from sacbrax.engines.rows import Rows
from sacbrax.engines.space.acceleration import Layout, evaluate, motor_forces, unknown
from sacbrax.engines.space.derived import Derived, Trace, derive
from sacbrax.engines.space.dynamics import UPRIGHT, motion, placed, rotation
from sacbrax.engines.space.groups import Totals
from sacbrax.engines.space.mechanism import Mechanism, read_mechanism
from sacbrax.engines.space.solve import factored, substituted


class FusedSpace(FusedTree):
    """Steps a tree in space by `frame_skip` time steps of its own integrator.

    Of a state itself forces on bodies are told as zero.
    """

    def __init__(self, model: mujoco.MjModel, frame_skip: int) -> None:
        self.mechanism = read_mechanism(model)
        compare_with_mujoco(model, functools.partial(_smooth, self.mechanism))
        super().__init__(_Steps(self.mechanism, frame_skip), _Steps(self.mechanism, frame_skip, recalls=True))

    def _derived_at(self, qpos: Array, qvel: Array) -> Derived:
        none = jnp.zeros(6 * self.mechanism.bodies, qpos.dtype)
        return derive(self.mechanism, qpos, qvel, jnp.concatenate([qpos, none]))

    def _derived(self, qpos: Array, qvel: Array, last: Array) -> Derived:
        return derive(self.mechanism, qpos, qvel, last)


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

        integrate = INTEGRATORS[mechanism.integrator]
        memory = [*guess, *(trace.empty(q) if self.recalls else [])]
        q_end, v_end, memory = integrate(accelerate, h, self.frame_skip, q, v, forces, memory, once, layout)
        end = layout.qpos(q_end), layout.qvel(v_end)
        return (*end, trace.columns(memory[len(guess) :])) if self.recalls else end


def _smooth(mechanism: Mechanism, data: mujoco.MjData) -> Array:
    """Accelerations [nv] without contacts and limits."""
    layout = Layout(mechanism)
    at = layout.positions(data.qpos[None])
    moving, torque = layout.velocities(data.qvel[None]), layout.velocities(data.qfrc_actuator[None])
    quaternion = tuple(at[-4:]) if layout.floats else ()
    speed = layout.speed(quaternion, moving)
    q, v, forces = (layout.groups(rows) for rows in (at, moving, torque))
    root = rotation(quaternion) if layout.floats else UPRIGHT
    frames = placed(mechanism, root, q, lambda x: (np.sin(x), np.cos(x)))
    state = motion(mechanism, frames, speed, q, v, forces)
    tree = factored(mechanism, state, state.root_inertia, state.inertia, [0.0] * len(mechanism.groups))
    joints, _ = substituted(mechanism, state, tree, state.force, Totals(mechanism))
    return layout.qvel(layout.accelerations(state, joints))[0]
