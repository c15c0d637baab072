"""What MuJoCo derives of a state and tasks read: where bodies and sites are and move, constraints' forces."""

import jax.numpy as jnp
from flax import struct

from sacbrax.core.types import Array
from sacbrax.engines.planar.constraints import constraints
from sacbrax.engines.planar.dynamics import accelerations, joint_forces, motion
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.planar.travelling import from_the_origin
from sacbrax.engines.rows import Row, Rows, add, dot, mul, sub
from sacbrax.engines.swimmer.dynamics import sincos


class Derived(struct.PyTreeNode):
    """Fields of MuJoCo's `mjData`, by their names there; it has velocities in another form (`cvel`)."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    xpos: Array  # [nbody, 3] m, of the bodies' frames
    xquat: Array  # [nbody, 4]
    linear: Array  # [nbody, 3] m/s, of the origins of the bodies' frames
    angular: Array  # [nbody, 3] rad/s
    site_xpos: Array  # [nsite, 3] m
    qfrc_constraint: Array  # [nv] N or N m


def derive(mechanism: Mechanism, qpos: Array, qvel: Array, q: Rows, v: Rows, a: Rows) -> Derived:
    """The state to tell, qpos [nq] and qvel [nv], and what is derived of an evaluation of the dynamics: positions `q`,
    velocities `v` and accelerations `a`, rows [1]."""
    q, gone = from_the_origin(mechanism, q)
    state = motion(mechanism, q, v, [0.0] * len(q), sincos)
    rows = constraints(mechanism, state, q, v)
    at_joints, push = rows.forces(rows.residuals(a, accelerations(mechanism, state.axis, a)), len(q))
    pushed = joint_forces(mechanism, state.axis, [push.get(i) for i in range(len(q))])
    force = [jnp.broadcast_to(add(x, y), (1,)) for x, y in zip(at_joints, pushed, strict=True)]

    in_u, in_v = mechanism.plane
    across = 3 - in_u - in_v

    def vector(u: Row, v: Row, depth: Row) -> Array:
        """[3] in space."""
        by_axis = {in_u: u, in_v: v, across: depth}
        return jnp.stack([jnp.broadcast_to(jnp.asarray(by_axis[i], qpos.dtype), (1,))[0] for i in range(3)])

    def quaternion(angle: Row) -> Array:
        half = 0.5 * jnp.asarray(angle, qpos.dtype)
        cosine = jnp.broadcast_to(jnp.cos(half), (1,))
        return jnp.concatenate([cosine, vector(0.0, 0.0, jnp.sin(half))])

    still = (0.0, 0.0, 0.0)
    speeds = [state.speed[body.dof] if body.dof >= 0 else still for body in mechanism.bodies]
    moving = list(zip(state.frames, speeds, strict=True))
    along = dot([dof.axis[0] for dof in mechanism.dofs], gone)
    far = [0.0 if body.parent < 0 else along for body in mechanism.bodies]

    def place(body: int, u: Row, v: Row, depth: Row) -> Array:
        return vector(add(u, far[body]), v, depth)

    frames = enumerate(zip(state.frames, mechanism.depths, strict=True))
    sites = [place(site.body, *state.frames[site.body].point(site.place), site.depth) for site in mechanism.sites]
    return Derived(
        qpos=qpos,
        qvel=qvel,
        xpos=jnp.stack([place(body, f.u, f.v, depth) for body, (f, depth) in frames]),
        xquat=jnp.stack([quaternion(frame.angle) for frame in state.frames]),
        linear=jnp.stack([vector(add(u, mul(turn, f.v)), sub(v, mul(turn, f.u)), 0.0) for f, (turn, u, v) in moving]),
        angular=jnp.stack([vector(0.0, 0.0, turn) for turn, _, _ in speeds]),
        site_xpos=jnp.reshape(jnp.asarray(sites, qpos.dtype), (-1, 3)),
        qfrc_constraint=jnp.concatenate(force).astype(qpos.dtype),
    )
