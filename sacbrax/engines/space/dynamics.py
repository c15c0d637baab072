"""A tree in motion: places, velocities, inertias and forces.

All rows are [K, N]: K nodes of a group, N environments; of the root K is 1. Vectors have the world's axes and the
root's place as reference, which is the origin where the world is the root (`vectors.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines.rows import Row, add, column, dot, mul, plus, scale, sub
from sacbrax.engines.space.groups import Totals, filled, gathered, vectors, whole
from sacbrax.engines.space.mechanism import ROOT, Mechanism, Rigid
from sacbrax.engines.space.vectors import (
    NOTHING,
    Columns,
    Inertia,
    Motion,
    Vector,
    apply,
    carried_along,
    carried_along_force,
    cross,
    rigid,
    turned,
)

UPRIGHT: Columns = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class Coordinates(NamedTuple):
    """Positions, velocities, accelerations or forces of the joints."""

    root: tuple[Row, ...]  # of a floating body, [1, N] each: as a motion, or ()
    nodes: list[Array]  # by group, [K, N]


class Frames(NamedTuple):
    """Where the root and the nodes are; lists by group."""

    root: Columns
    columns: list[Columns]
    origins: list[Vector]


class State(NamedTuple):
    """A tree in motion, as the dynamics use it; lists by group."""

    frames: Frames
    axis: list[Motion]  # what one unit of a joint's speed adds to the motion of what it carries
    root_speed: Motion
    speed: list[Motion]  # of what a node carries
    root_inertia: Inertia | None
    inertia: list[Inertia]  # of the bodies that hang on a node and no further one
    force: Coordinates  # motors, springs, damping, gravity, and the turning of the bodies


SinCos = Callable[[Any], tuple[Any, Any]]


def placed(mechanism: Mechanism, root: Columns, q: list[Array], sincos: SinCos) -> Frames:
    """Of the root's orientation and the positions of the groups."""
    frames: list[tuple[Row, ...]] = []  # columns and origin, 12 rows
    at_root = (*(x for column in root for x in column), 0.0, 0.0, 0.0)
    for g, group in enumerate(mechanism.groups):
        nodes, like = [mechanism.nodes[i] for i in group], q[g]
        above = gathered(mechanism, group, at_root, frames)
        columns = (above[:3], above[3:6], above[6:9])
        origin = plus(above[9:], turned(columns, vectors([node.place for node in nodes], like)))
        x, y, z = (turned(columns, vectors([node.rotation[:, k] for node in nodes], like)) for k in range(3))
        moved = sub(q[g], column([node.at_zero for node in nodes], like))
        if nodes[0].slide:
            origin = plus(origin, scale(moved, z))
        else:
            sin, cos = sincos(moved)
            x, y = plus(scale(cos, x), scale(sin, y)), plus(scale(cos, y), scale(-sin, x))
        frames.append((*x, *y, *z, *origin))
    return Frames(root, [(f[:3], f[3:6], f[6:9]) for f in frames], [f[9:] for f in frames])


def motion(mechanism: Mechanism, frames: Frames, speed: Motion, q: list[Array], v: list[Array], torque: Any) -> State:
    """speed: of the floating body, or () without one. q, v: of the groups. torque: of the motors, by group."""
    root_speed = speed or NOTHING
    # Accelerations without any of the joints': gravity's opposite, and what turning does.
    falling: Motion = (0.0, 0.0, 0.0, *(float(-g) for g in mechanism.gravity))
    if speed:
        falling = plus(falling, (0.0, 0.0, 0.0, *cross(speed[3:], speed[:3])))
    axis: list[Motion] = []
    speeds: list[Motion] = []
    drifts: list[Motion] = []
    for g, group in enumerate(mechanism.groups):
        z, origin = frames.columns[g][2], frames.origins[g]
        slide = mechanism.nodes[group.start].slide
        axis.append((0.0, 0.0, 0.0, *z) if slide else (*z, *cross(origin, z)))
        carrier = gathered(mechanism, group, root_speed, speeds)
        own = scale(v[g], axis[g])
        speeds.append(plus(carrier, own))
        drifts.append(plus(gathered(mechanism, group, falling, drifts), carried_along(carrier, own)))
    needed = Totals(mechanism)
    inertia = []
    for g, group in enumerate(mechanism.groups):
        bodies = [mechanism.nodes[i].body for i in group]
        inertia.append(_inertia(bodies, frames.columns[g], frames.origins[g], q[g]))
        needed.give(g, plus(apply(inertia[g], drifts[g]), carried_along_force(speeds[g], apply(inertia[g], speeds[g]))))
    root_inertia = None
    if mechanism.root is not None:
        root_inertia = _inertia([mechanism.root], frames.root, (0.0, 0.0, 0.0), speed[0])
        turning = carried_along_force(root_speed, apply(root_inertia, root_speed))
        needed.give(ROOT, plus(apply(root_inertia, falling), turning))
    forces: list[Any] = [None] * len(mechanism.groups)
    for g in reversed(range(len(mechanism.groups))):
        nodes = [mechanism.nodes[i] for i in mechanism.groups[g]]
        damping = column([-node.damping for node in nodes], q[g])
        stiffness = column([-node.stiffness for node in nodes], q[g])
        passive = mul(damping, v[g])
        if any(node.stiffness for node in nodes):
            passive = add(passive, mul(stiffness, sub(q[g], column([node.spring for node in nodes], q[g]))))
        total = needed.groups[g]
        assert total is not None
        forces[g] = filled(add(torque[g], passive, -dot(axis[g], total)), q[g], len(nodes))
        needed.give_to([node.parent for node in nodes], whole(total, q[g]))
    at_root_force = () if needed.root is None or mechanism.root is None else tuple(-x for x in needed.root)
    return State(frames, axis, root_speed, speeds, root_inertia, inertia, Coordinates(at_root_force, forces))


def rotation(quaternion: tuple[Row, ...]) -> Columns:
    """Of a quaternion of length 1."""
    w, x, y, z = quaternion
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )


def _inertia(bodies: Sequence[Rigid], columns: Columns, origin: Vector, like: Array) -> Inertia:
    """About the reference."""
    mass = column([body.mass for body in bodies], like)
    centre = plus(origin, turned(columns, vectors([body.centre for body in bodies], like)))
    least = column([body.least for body in bodies], like)
    about: tuple[Row, ...] = (least, 0.0, 0.0, least, 0.0, least)
    for k in range(max(len(body.more) for body in bodies)):
        extra = [body.more[k] if k < len(body.more) else (0.0, np.zeros(3)) for body in bodies]
        e = turned(columns, vectors([direction for _, direction in extra], like))
        m = scale(column([value for value, _ in extra], like), e)
        more = (mul(m[0], e[0]), mul(m[0], e[1]), mul(m[0], e[2]), mul(m[1], e[1]), mul(m[1], e[2]), mul(m[2], e[2]))
        about = plus(about, more)
    return rigid(mass, centre, about)
