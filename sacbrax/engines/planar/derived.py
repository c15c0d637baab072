"""What MuJoCo derives of a state and tasks read: places of bodies and sites, forces of constraints at the joints."""

import jax.numpy as jnp
from flax import struct

from sacbrax.core.types import Array
from sacbrax.engines.planar.constraints import constraints
from sacbrax.engines.planar.dynamics import Frame, accelerations, joint_forces, motion
from sacbrax.engines.planar.mechanism import Mechanism, Point
from sacbrax.engines.planar.rows import Row, Rows, add
from sacbrax.engines.swimmer.dynamics import sincos


class Derived(struct.PyTreeNode):
    """Fields of MuJoCo's `mjData`, by their names there."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    xpos: Array  # [nbody, 3] m, of the bodies' frames
    site_xpos: Array  # [nsite, 3] m
    qfrc_constraint: Array  # [nv] N or N m


def derive(mechanism: Mechanism, qpos: Array, qvel: Array, q: Rows, v: Rows, a: Rows) -> Derived:
    """The state to tell, qpos [nq] and qvel [nv], and what is derived of an evaluation of the dynamics: positions `q`,
    velocities `v` and accelerations `a`, rows [1]."""
    state = motion(mechanism, q, v, [0.0] * len(q), sincos)
    rows = constraints(mechanism, state, q, v)
    at_joints, push = rows.forces(rows.residuals(a, accelerations(mechanism, state.axis, a)), len(q))
    pushed = joint_forces(mechanism, state.axis, [push.get(i) for i in range(len(q))])
    force = [jnp.broadcast_to(add(x, y), (1,)) for x, y in zip(at_joints, pushed, strict=True)]

    def place(frame: Frame, point: Point, depth: float) -> Array:
        """[3] of a point of a body."""
        u, v = mechanism.plane
        coordinates: list[Row] = [depth] * 3
        coordinates[u], coordinates[v] = frame.point(point)
        return jnp.stack([jnp.broadcast_to(jnp.asarray(x, qpos.dtype), (1,))[0] for x in coordinates])

    bodies = zip(state.frames, mechanism.depths, strict=True)
    return Derived(
        qpos=qpos,
        qvel=qvel,
        xpos=jnp.stack([place(frame, (0.0, 0.0), depth) for frame, depth in bodies]),
        site_xpos=jnp.reshape(
            jnp.asarray([place(state.frames[site.body], site.place, site.depth) for site in mechanism.sites]), (-1, 3)
        ),
        qfrc_constraint=jnp.concatenate(force).astype(qpos.dtype),
    )
