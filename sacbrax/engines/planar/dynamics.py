"""A planar tree in motion: places, velocities, inertias and forces, and the one solve that everything comes down to.

Motions and forces are triples about one fixed point of the plane, the origin of the world: (turn, u, v) and (moment,
force along u, force along v). A point at (u, v) of a body with motion A moves by (A_u + A_turn v, A_v - A_turn u). An
inertia is a symmetric 3 x 3 matrix in six rows: turn-turn, turn-u, turn-v, u-u, u-v, v-v. (Featherstone, Rigid Body
Dynamics Algorithms, 2008, chapters 5 to 7.)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sacbrax.engines.planar.mechanism import Body, Mechanism
from sacbrax.engines.rows import Row, Rows, add, dot, mul, plus, scale, sub

Triple = tuple[Row, ...]
Inertia = tuple[Row, ...]


class Frame(NamedTuple):
    """Where a body is."""

    u: Row
    v: Row
    angle: Row
    cos: Row
    sin: Row

    def point(self, place: Any) -> tuple[Row, Row]:
        """The world's coordinates of a place on the body."""
        a, b = place
        u = add(self.u, mul(a, self.cos), mul(b, self.sin))
        return u, sub(add(self.v, mul(b, self.cos)), mul(a, self.sin))


class Motion(NamedTuple):
    """The state of the tree, as the dynamics use it: lists by dof, but for `frames`, which are by body."""

    frames: list[Frame]
    axis: list[Triple]  # what one unit of a joint's speed adds to the motion of what it carries
    speed: list[Triple]  # motion of what the joint carries
    inertia: list[Inertia | None]  # of the bodies that hang on this joint and no further one
    force: Rows  # generalized: motors, springs, damping, gravity, and the turning of the bodies


def motion(mechanism: Mechanism, q: Rows, v: Rows, torque: Rows, sincos: Callable[[Row], tuple[Row, Row]]) -> Motion:
    """Of positions q [nq], velocities v [nv] and joint forces of the motors [nv]."""
    n = len(mechanism.dofs)
    frames: list[Frame] = [Frame(0.0, 0.0, 0.0, 1.0, 0.0)]
    axis: list[Any] = [None] * n
    speed: list[Any] = [None] * n
    drift: list[Any] = [None] * n  # acceleration without any of the joints': gravity's opposite, and from the turning
    still, falling = (0.0, 0.0, 0.0), (0.0, -mechanism.gravity[0], -mechanism.gravity[1])
    for body in mechanism.bodies[1:]:
        parent = frames[body.parent]
        (place_u, place_v), angle = parent.point(body.place), add(parent.angle, body.angle)
        sin, cos = (parent.sin, parent.cos) if body.angle == 0.0 else _directions(angle, sincos)
        for i in body.dofs:
            dof = mechanism.dofs[i]
            carrier = speed[dof.parent] if dof.parent >= 0 else still
            carried = drift[dof.parent] if dof.parent >= 0 else falling
            if dof.slide:
                a, b = dof.axis
                along = (add(mul(a, cos), mul(b, sin)), sub(mul(b, cos), mul(a, sin)))
                moved = sub(q[i], dof.at_zero)
                place_u, place_v = add(place_u, mul(along[0], moved)), add(place_v, mul(along[1], moved))
                axis[i] = (0.0, *along)
                turning = (0.0, mul(carrier[0], along[1]), -mul(carrier[0], along[0]))
            else:
                turn = dof.axis[0]
                hinge_u, hinge_v = Frame(place_u, place_v, angle, cos, sin).point(dof.anchor)
                angle = add(angle, mul(turn, sub(q[i], dof.at_zero)))
                sin, cos = sincos(angle)
                back_u, back_v = Frame(0.0, 0.0, angle, cos, sin).point(dof.anchor)
                place_u, place_v = sub(hinge_u, back_u), sub(hinge_v, back_v)
                axis[i] = (turn, -mul(turn, hinge_v), mul(turn, hinge_u))
                move_u = add(carrier[1], mul(carrier[0], hinge_v))
                move_v = sub(carrier[2], mul(carrier[0], hinge_u))
                turning = (0.0, -mul(turn, move_v), mul(turn, move_u))
            speed[i] = plus(carrier, scale(v[i], axis[i]))
            drift[i] = plus(carried, scale(v[i], turning))
        frames.append(Frame(place_u, place_v, angle, cos, sin))

    inertia: list[Any] = [None] * n
    needed: list[Any] = [None] * n  # the force that the drift alone would take
    for body, frame in zip(mechanism.bodies[1:], frames[1:], strict=True):
        if (i := body.dof) < 0:
            continue
        own = _inertia(body, frame)
        turn, u, w = speed[i]
        momentum = apply(own, speed[i])
        inward = (sub(mul(w, momentum[1]), mul(u, momentum[2])), mul(turn, momentum[2]), -mul(turn, momentum[1]))
        force = plus(apply(own, drift[i]), inward)
        inertia[i] = own if inertia[i] is None else plus(inertia[i], own)
        needed[i] = force if needed[i] is None else plus(needed[i], force)
    bias = joint_forces(mechanism, axis, needed)
    generalized: Rows = []
    for i, dof in enumerate(mechanism.dofs):
        passive = add(mul(-dof.damping, v[i]), mul(-dof.stiffness, sub(q[i], dof.spring)) if dof.stiffness else 0.0)
        generalized.append(add(torque[i], passive, -bias[i]))
    return Motion(frames, axis, speed, inertia, generalized)


def _directions(angle: Row, sincos: Callable[[Row], tuple[Row, Row]]) -> tuple[Row, Row]:
    """Sine and cosine; of a body that does not turn they are numbers."""
    if isinstance(angle, float):
        return math.sin(angle), math.cos(angle)
    return sincos(angle)


def _inertia(body: Body, frame: Frame) -> Inertia:
    u, v = frame.point(body.centre)
    m = body.mass
    mu, mv = mul(m, u), mul(m, v)
    return add(body.inertia, mul(mu, u), mul(mv, v)), mv, -mu, m, 0.0, m


def apply(inertia: Inertia, motion: Triple) -> Triple:
    """The momentum of a motion, or the force of an acceleration."""
    a, b, c, d, e, f = inertia
    return dot((a, b, c), motion), dot((b, d, e), motion), dot((c, e, f), motion)


def joint_forces(mechanism: Mechanism, axis: Sequence[Triple], forces: Sequence[Triple | None]) -> Rows:
    """What forces on the bodies do at the joints: for each joint its share of all that it carries."""
    total = list(forces)
    out: Rows = [0.0] * len(mechanism.dofs)
    for i in reversed(range(len(mechanism.dofs))):
        if (own := total[i]) is None:
            continue
        out[i] = dot(axis[i], own)
        if (k := mechanism.dofs[i].parent) >= 0:
            above = total[k]
            total[k] = own if above is None else plus(above, own)
    return out


def accelerations(mechanism: Mechanism, axis: Sequence[Triple], joints: Rows) -> list[Triple]:
    """Motions of what each joint carries, from the joints' own."""
    found: list[Triple] = []
    for i, dof in enumerate(mechanism.dofs):
        own = scale(joints[i], axis[i])
        found.append(plus(found[dof.parent], own) if dof.parent >= 0 else own)
    return found


class Factors(NamedTuple):
    """Of the tree's mass matrix, by dof: what one sweep from its leaves to its root leaves."""

    reach: list[Triple]  # momentum of what the joint carries, at one unit of its speed
    inverse: Rows  # of the inertia that the joint feels
    share: list[Triple]  # inverse times reach


def factored(mechanism: Mechanism, axis: Sequence[Triple], inertia: Sequence[Inertia | None], extra: Rows) -> Factors:
    """inertia: of what hangs on each joint. extra: inertia of each joint beside its armature."""
    n = len(mechanism.dofs)
    whole = list(inertia)
    reach: list[Any] = [None] * n
    share: list[Any] = [None] * n
    inverse: Rows = [None] * n
    for i in reversed(range(n)):
        dof, below = mechanism.dofs[i], whole[i]
        assert below is not None, "a joint that carries nothing"
        reach[i] = apply(below, axis[i])
        inverse[i] = 1.0 / add(dot(axis[i], reach[i]), dof.armature, extra[i])
        share[i] = scale(inverse[i], reach[i])
        if (k := dof.parent) < 0:
            continue
        a, b, c = reach[i]
        x, y, z = share[i]
        left = (mul(a, x), mul(a, y), mul(a, z), mul(b, y), mul(b, z), mul(c, z))
        passed = tuple(sub(p, r) for p, r in zip(below, left, strict=True))
        above = whole[k]
        whole[k] = passed if above is None else plus(above, passed)
    return Factors(reach, inverse, share)


def substituted(
    mechanism: Mechanism, axis: Sequence[Triple], factors: Factors, force: Rows, push: Mapping[int, Triple]
) -> tuple[Rows, list[Triple]]:
    """Accelerations of the joints [nv], and of what they carry, by one sweep down the tree and one up.

    force: at the joints. push: forces on what hangs on a joint.
    """
    n = len(mechanism.dofs)
    bias = [push.get(i) for i in range(n)]
    own: Rows = [None] * n
    for i in reversed(range(n)):
        pushed = bias[i]
        own[i] = force[i] if pushed is None else add(force[i], dot(axis[i], pushed))
        if (k := mechanism.dofs[i].parent) < 0:
            continue
        given = scale(-own[i], factors.share[i])
        given = given if pushed is None else plus(pushed, given)
        pushes = bias[k]
        bias[k] = given if pushes is None else plus(pushes, given)
    joints: Rows = []
    carried: list[Triple] = []
    for i, dof in enumerate(mechanism.dofs):
        if dof.parent >= 0:
            above = carried[dof.parent]
            joints.append(mul(sub(own[i], dot(factors.reach[i], above)), factors.inverse[i]))
            carried.append(plus(above, scale(joints[i], axis[i])))
        else:
            joints.append(mul(own[i], factors.inverse[i]))
            carried.append(scale(joints[i], axis[i]))
    return joints, carried
