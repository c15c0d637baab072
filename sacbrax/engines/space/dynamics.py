"""A tree in motion: places, velocities, inertias and forces, and the one solve that everything comes down to.

All rows are [K, N]: K nodes of a group, N environments; of the root K is 1. Vectors have the world's axes and the
root's place as reference, which is the origin where the world is the root (`vectors.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines.rows import Row, add, column, dot, mul, plus, scale, sub
from sacbrax.engines.space.mechanism import ROOT, Mechanism, Rigid
from sacbrax.engines.space.vectors import (
    ENTRY,
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
    without,
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


def joined(rows: Sequence[Any]) -> Any:
    """Arrays [K, N] one after the other."""
    return rows[0] if len(rows) == 1 else _namespace(rows[0]).concatenate(rows)


def _namespace(like: Any) -> Any:
    """NumPy's functions or JAX's."""
    return like.__array_namespace__()


def vectors(values: Sequence[Any], like: Array) -> Vector:
    """The same of vectors."""
    return tuple(column([float(value[k]) for value in values], like) for k in range(3))


def gathered(
    mechanism: Mechanism, group: range, root: Sequence[Row], groups: Sequence[Sequence[Row]]
) -> tuple[Row, ...]:
    """Rows of what carries each node of a group, from the root's and those of all groups before."""
    return taken(mechanism, [mechanism.nodes[i].parent for i in group], root, groups)


def taken(
    mechanism: Mechanism, nodes: Sequence[int], root: Sequence[Row], groups: Sequence[Sequence[Row]]
) -> tuple[Row, ...]:
    """Rows of nodes, [len(nodes), N] or where all are the same [1, N]."""
    if len(set(nodes)) == 1:
        nodes = nodes[:1]
    runs: list[tuple[int, range, int]] = []  # a group, nodes of it, how often
    for i in nodes:
        g, k = _where(mechanism, i)
        last = runs[-1] if runs and runs[-1][0] == g else None
        if last and last[1] == range(k, k + 1):
            runs[-1] = (g, last[1], last[2] + 1)
        elif last and last[1].stop == k and last[2] == 1:
            runs[-1] = (g, range(last[1].start, k + 1), 1)
        else:
            runs.append((g, range(k, k + 1), 1))

    def of(c: int) -> Row:
        found = [root[c] if g == ROOT else groups[g][c] for g, _, _ in runs]
        if all(isinstance(x, float) for x in found) and len(set(found)) == 1:
            return found[0]
        like = next(x for x in (*root, *(x for rows in groups for x in rows)) if not isinstance(x, float))
        parts = []
        for (g, own, times), x in zip(runs, found, strict=True):
            size = 1 if g == ROOT else len(mechanism.groups[g])
            x = filled(x, like, size)
            x = x if len(own) == size else x[own.start : own.stop]
            parts.append(filled(x, like, times) if times > 1 else x)
        return joined(parts)

    return tuple(of(c) for c in range(len(root)))


def _where(mechanism: Mechanism, node: int) -> tuple[int, int]:
    """Group of a node, and which it is there."""
    for g, group in enumerate(mechanism.groups):
        if node in group:
            return g, node - group.start
    return ROOT, 0


class Totals:
    """Rows that add up at the root and at the nodes, [1, N] and [K, N]; None where nothing came."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism
        self.root: tuple[Row, ...] | None = None
        self.groups: list[tuple[Row, ...] | None] = [None] * len(mechanism.groups)

    def give(self, g: int, rows: Sequence[Row]) -> None:
        """To all nodes of group g, or to the root."""
        if g == ROOT:
            self.root = tuple(rows) if self.root is None else plus(self.root, rows)
        else:
            before = self.groups[g]
            self.groups[g] = tuple(rows) if before is None else plus(before, rows)

    def give_to(self, nodes: Sequence[int], rows: Sequence[Row]) -> None:
        """To these nodes, one row of [len(nodes), N] each; a node may come several times."""
        by_group: dict[int, list[tuple[int, int]]] = {}
        for place, node in enumerate(nodes):
            g, k = _where(self._mechanism, node)
            by_group.setdefault(g, []).append((k, place))
        for g, pairs in by_group.items():
            if g == ROOT and self._mechanism.root is None:
                continue
            size = 1 if g == ROOT else len(self._mechanism.groups[g])
            rounds: list[list[int | None]] = []  # each gives every node at most one row
            for k, place in pairs:
                free = next((r for r in rounds if r[k] is None), None)
                if free is None:
                    free = [None] * size
                    rounds.append(free)
                free[k] = place
            self.give(g, [_added(x, rounds) for x in rows])


def _added(x: Row, rounds: list[list[int | None]]) -> Row:
    """The sum over the rounds of what each picks; x may be the number 0."""
    if isinstance(x, float):
        return x
    places, size = [p for picked in rounds for p in picked], len(rounds[0])
    if len(rounds) > 1 and places == list(range(places[0] or 0, (places[0] or 0) + len(places))):
        return _picked(x, places).reshape(len(rounds), size, x.shape[1]).sum(axis=0)
    return add(*(_picked(x, picked) for picked in rounds))


def _picked(x: Any, places: list[int | None]) -> Any:
    """x [C, ...] at these places, zeros for None."""
    start = places[0]
    if start is not None and places == list(range(start, start + len(places))):
        return x if len(places) == x.shape[0] else x[start : start + len(places)]
    zero = x[:1] * 0.0
    return joined([zero if p is None else x[p : p + 1] for p in places])


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
        needed.give_to([node.parent for node in nodes], _whole(total, q[g]))
    at_root_force = () if needed.root is None or mechanism.root is None else tuple(-x for x in needed.root)
    return State(frames, axis, root_speed, speeds, root_inertia, inertia, Coordinates(at_root_force, forces))


def _whole(rows: Sequence[Row], like: Array) -> tuple[Row, ...]:
    """Rows [1, N] and numbers as [K, N], but for zeros."""
    return tuple(x if isinstance(x, float) and x == 0.0 else filled(x, like, like.shape[0]) for x in rows)


def filled(x: Row, like: Array, count: int) -> Any:
    """A row [1, N] or [K, N] or a number as [count, N]."""
    xp, shape = _namespace(like), (count, like.shape[1])
    return x if getattr(x, "shape", None) == shape else xp.broadcast_to(xp.asarray(x, like.dtype), shape)


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


def accelerations(mechanism: Mechanism, state: State, joints: Coordinates) -> tuple[Motion, list[Motion]]:
    """Motions of the root and of what each node carries, from the joints' own."""
    root: Motion = joints.root or NOTHING
    found: list[Motion] = []
    for g, group in enumerate(mechanism.groups):
        above = gathered(mechanism, group, root, found)
        found.append(plus(above, scale(joints.nodes[g], state.axis[g])))
    return root, found


class Factors(NamedTuple):
    """Of the tree's mass matrix: what one sweep from its leaves to its root leaves. By group."""

    reach: list[Motion]  # momentum of what the node carries, at one unit of its speed
    inverse: list[Row]  # of the inertia that the node feels
    share: list[Motion]  # inverse times reach
    root: "Elimination | None"


class Elimination(NamedTuple):
    """Of the root's equations as L D L': columns of L below its diagonal, [5, N] to [0, N], and 1 / D, [1, N]."""

    columns: list[Any]
    inverse: list[Any]


def factored(
    mechanism: Mechanism, state: State, root: Inertia | None, inertia: Sequence[Inertia], extra: Sequence[Row]
) -> Factors:
    """inertia: of what hangs on each node. extra: inertia of each node beside its armature."""
    n = len(mechanism.groups)
    whole = Totals(mechanism)
    if root is not None:
        whole.give(ROOT, root)
    for g in range(n):
        whole.give(g, inertia[g])
    reach: list[Any] = [None] * n
    share: list[Any] = [None] * n
    inverse: list[Any] = [None] * n
    for g in reversed(range(n)):
        nodes = [mechanism.nodes[i] for i in mechanism.groups[g]]
        own, axis, like = whole.groups[g], state.axis[g], state.force.nodes[g]
        assert own is not None
        reach[g] = apply(own, axis)
        armature = column([node.armature for node in nodes], like)
        inverse[g] = 1.0 / add(dot(axis, reach[g]), armature, extra[g])
        share[g] = scale(inverse[g], reach[g])
        whole.give_to([node.parent for node in nodes], _whole(without(own, reach[g], share[g]), like))
    return Factors(reach, inverse, share, None if root is None else _decomposed(whole.root))


def _decomposed(inertia: Any) -> Elimination:
    """Of L D L', as arrays, which are quicker to compile."""
    like = next(x for x in inertia if not isinstance(x, float))
    flat = joined([filled(inertia[k], like, 1) for row in ENTRY for k in row])
    rest = flat.reshape(6, 6, flat.shape[1])
    columns, inverse = [], []
    for _ in range(6):
        inverse.append(1.0 / rest[0, :1])
        columns.append(rest[0, 1:] * inverse[-1])
        rest = rest[1:, 1:] - columns[-1][:, None] * rest[:1, 1:]
    return Elimination(columns, inverse)


def _root_solved(factors: Elimination, force: Motion) -> Motion:
    columns, inverse = factors
    left, x = joined([filled(row, columns[0], 1) for row in force]), []
    for below in columns:
        x.append(left[:1])
        left = left[1:] - below * x[-1]
    found: list[Row] = []
    for below, inverted, row in zip(reversed(columns), reversed(inverse), reversed(x), strict=True):
        found.insert(0, sub(row * inverted, dot([below[k : k + 1] for k in range(len(found))], found)))
    return tuple(found)


def substituted(
    mechanism: Mechanism, state: State, factors: Factors, force: Coordinates, push: Totals
) -> tuple[Coordinates, tuple[Motion, list[Motion]]]:
    """Accelerations of the joints, and of what they carry, by one sweep down the tree and one up.

    force: at the joints. push: forces on what hangs on a node; it is used up.
    """
    n = len(mechanism.groups)
    own: list[Any] = [None] * n
    for g in reversed(range(n)):
        pushed, like = push.groups[g], state.force.nodes[g]
        own[g] = force.nodes[g] if pushed is None else add(force.nodes[g], dot(state.axis[g], pushed))
        given = scale(-own[g], factors.share[g])
        given = given if pushed is None else plus(pushed, given)
        push.give_to([mechanism.nodes[i].parent for i in mechanism.groups[g]], _whole(given, like))
    root: Motion = ()
    if factors.root is not None:
        root = _root_solved(factors.root, force.root if push.root is None else plus(force.root, push.root))
    joints: list[Any] = []
    carried: list[Motion] = []
    for g, group in enumerate(mechanism.groups):
        above = gathered(mechanism, group, root or NOTHING, carried)
        joints.append(mul(sub(own[g], dot(factors.reach[g], above)), factors.inverse[g]))
        carried.append(plus(above, scale(joints[g], state.axis[g])))
    return Coordinates(root, joints), (root or NOTHING, carried)
