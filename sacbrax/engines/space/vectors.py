"""Vectors, rotations and 6 x 6 inertias in space, as tuples of rows [K, N]: K nodes of a group, N environments.

Motions (turn, move) and forces (moment, force) are six rows about one fixed point, the reference: a point at p of a
body with motion (w, v) moves by v + w x p. An inertia is symmetric, 21 rows: turn-turn [xx xy xz yy yz zz], turn-move
[xx xy xz yx yy yz zx zy zz], move-move [xx xy xz yy yz zz]. (Featherstone, Rigid Body Dynamics Algorithms, 2008,
chapter 2.)
"""

from typing import Any

from sacbrax.engines.rows import Row, add, dot, mul, plus, scale, sub

Vector = tuple[Row, ...]  # 3
Motion = tuple[Row, ...]  # 6
Inertia = tuple[Row, ...]  # 21
Columns = tuple[Vector, Vector, Vector]  # of a rotation: where its axes point
NOTHING: Motion = (0.0,) * 6
UPPER = tuple((i, j) for i in range(6) for j in range(i, 6))


def cross(a: Vector, b: Vector) -> Vector:
    """a x b."""
    return tuple(sub(mul(a[i], b[j]), mul(a[j], b[i])) for i, j in ((1, 2), (2, 0), (0, 1)))


def turned(columns: Columns, vector: Any) -> Vector:
    """A vector of a frame, as the world has it."""
    return tuple(dot(row, vector) for row in zip(*columns, strict=True))


def _place(i: int, j: int) -> int:
    """Where an inertia holds its entry (i, j), i <= j."""
    if j < 3:
        return (0, 3, 5)[i] + j - i
    if i < 3:
        return 6 + 3 * i + j - 3
    return 15 + (0, 3, 5)[i - 3] + j - i


ENTRY = [[_place(min(i, j), max(i, j)) for j in range(6)] for i in range(6)]
ORDER = tuple(sorted(UPPER, key=lambda ij: _place(*ij)))  # the entries as an inertia holds them


def apply(inertia: Inertia, motion: Motion) -> Motion:
    """The momentum of a motion, or the force of an acceleration."""
    return tuple(dot([inertia[k] for k in row], motion) for row in ENTRY)


def without(inertia: Inertia, a: Motion, b: Motion) -> Inertia:
    """inertia - a b', where a b' is symmetric."""
    return tuple(sub(x, mul(a[i], b[j])) for x, (i, j) in zip(inertia, ORDER, strict=True))


def carried_along(motion: Motion, moved: Motion) -> Motion:
    """How fast a motion that moves along with a body changes (Featherstone's cross product of motions)."""
    w, v = motion[:3], motion[3:]
    return (*cross(w, moved[:3]), *plus(cross(w, moved[3:]), cross(v, moved[:3])))


def carried_along_force(motion: Motion, force: Motion) -> Motion:
    """The same of a force or a momentum."""
    w, v = motion[:3], motion[3:]
    return (*plus(cross(w, force[:3]), cross(v, force[3:])), *cross(w, force[3:]))


def at_point(point: Vector, force: Vector) -> Motion:
    """A force that acts at a point."""
    return (*cross(point, force), *force)


def of_point(motion: Motion, point: Vector) -> Vector:
    """How a point of a body moves."""
    return plus(motion[3:], cross(motion[:3], point))


def stiff_point(point: Vector, stiffness: tuple[Row, ...]) -> Inertia:
    """What a body is heavier by where one point has a symmetric stiffness [xx xy xz yy yz zz]: X' K X, X = (-[p] 1)."""
    xx, xy, xz, yy, yz, zz = stiffness
    columns = ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
    coupling = list(zip(*(cross(point, column) for column in columns), strict=True))  # [p] K, by rows
    about = [cross(point, row) for row in coupling]  # [p] K [p]'
    turn = (about[0][0], about[0][1], about[0][2], about[1][1], about[1][2], about[2][2])
    return (*turn, *(x for row in coupling for x in row), *stiffness)


def rigid(mass: Row, centre: Vector, about: tuple[Row, ...]) -> Inertia:
    """Of a body with inertia [xx xy xz yy yz zz] about its centre, which is at `centre`."""
    h = scale(mass, centre)
    x, y, z = (mul(a, b) for a, b in zip(h, centre, strict=True))
    own = (add(y, z), -mul(h[0], centre[1]), -mul(h[0], centre[2]), add(x, z), -mul(h[1], centre[2]), add(x, y))
    coupling = (0.0, -h[2], h[1], h[2], 0.0, -h[0], -h[1], h[0], 0.0)
    return (*plus(about, own), *coupling, mass, 0.0, 0.0, mass, 0.0, mass)
