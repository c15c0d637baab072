"""Soft constraints of a planar tree, as MuJoCo has them: ends of capsules on the floor, and ranges of joints.

The acceleration a minimizes 1/2 (a - a0)' M (a - a0) + sum of D/2 min(0, J a - aref)^2 over the rows J of all
constraints. In a plane the four edges of a friction pyramid are the normal, as often as `weight` says, and the two of
normal plus and minus friction times tangent. A row that pushes adds D J' J to M, which is the stiffness of its point
seen from its body: the same tree with heavier bodies.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from sacbrax.engines.planar.dynamics import Motion, Triple
from sacbrax.engines.planar.mechanism import Contact, Limit, Mechanism, Soft
from sacbrax.engines.planar.rows import Row, Rows, add, mul


class Touch(NamedTuple):
    """A contact in one state. Of a row e = J a - aref pushes where it is negative."""

    dof: int
    weight: float
    friction: float
    u: Row
    v: Row
    stiffness: Row  # D, 0 where there is no contact
    normal: Row  # aref of the normal
    tangent: Row  # friction times aref of the tangent


class Stop(NamedTuple):
    """A joint at the end of its range in one state."""

    dof: int
    sign: Row  # 1 at the lower end, -1 at the upper
    stiffness: Row
    reference: Row


Edges = tuple[Row, Row, Row]  # of a contact: the normal, plus and minus the tangent


class Constraints(NamedTuple):
    """All of a state."""

    touches: list[Touch]
    stops: list[Stop]

    def residuals(self, joints: Rows, carried: Sequence[Triple]) -> list[Row]:
        """e of all rows at the accelerations of the joints and of what they carry: three a contact, one a limit."""
        rows: list[Row] = []
        for touch in self.touches:
            turn, a_u, a_v = carried[touch.dof]
            normal = a_v - turn * touch.u - touch.normal
            if touch.friction:
                tangent = touch.friction * (a_u + turn * touch.v) - touch.tangent
                rows += [normal, normal + tangent, normal - tangent]
            else:
                rows.append(normal)
        rows += [stop.sign * joints[stop.dof] - stop.reference for stop in self.stops]
        return rows

    def loaded(
        self, pushing: Sequence[Row], inertia: Sequence[Any], force: Rows
    ) -> tuple[list[Any], Rows, dict[int, Triple], Rows]:
        """Inertias, joint forces, pushes on the bodies and joint inertias of the tree with these rows pushing."""
        heavy, forces, extra = list(inertia), list(force), [0.0] * len(force)
        push: dict[int, Triple] = {}
        rows = iter(pushing)
        for touch in self.touches:
            i, mu, u, v = touch.dof, touch.friction, touch.u, touch.v
            base = jnp.where(next(rows), touch.weight * touch.stiffness, 0.0)
            if mu:
                up, down = (jnp.where(next(rows), touch.stiffness, 0.0) for _ in range(2))
                both = up + down
                vv, uv, uu = base + both, mu * (up - down), (mu * mu) * both
                fu = mu * (up * (touch.normal + touch.tangent) - down * (touch.normal - touch.tangent))
                fv = base * touch.normal + up * (touch.normal + touch.tangent) + down * (touch.normal - touch.tangent)
                tu, tv = v * uu - u * uv, v * uv - u * vv
                own = (v * tu - u * tv, tu, tv, uu, uv, vv)
                wrench = (v * fu - u * fv, fu, fv)
            else:
                fv = base * touch.normal
                own = (u * u * base, 0.0, -u * base, 0.0, 0.0, base)
                wrench = (-u * fv, 0.0, fv)
            heavy[i] = tuple(add(a, b) for a, b in zip(heavy[i], own, strict=True))
            push[i] = tuple(add(a, b) for a, b in zip(push[i], wrench, strict=True)) if i in push else wrench
        for stop in self.stops:
            stiffness = jnp.where(next(rows), stop.stiffness, 0.0)
            extra[stop.dof] = add(extra[stop.dof], stiffness)
            forces[stop.dof] = add(forces[stop.dof], stop.sign * stiffness * stop.reference)
        return heavy, forces, push, extra

    def forces(self, residuals: Sequence[Row], count: int) -> tuple[Rows, dict[int, Triple]]:
        """What the constraints do at accelerations with these residuals: at the joints, and on the bodies."""
        at_joints: Rows = [0.0] * count
        push: dict[int, Triple] = {}
        rows = iter(residuals)
        for touch in self.touches:
            mu, u, v = touch.friction, touch.u, touch.v
            base = -touch.weight * touch.stiffness * jnp.minimum(next(rows), 0.0)
            if mu:
                up, down = (-touch.stiffness * jnp.minimum(next(rows), 0.0) for _ in range(2))
                fu, fv = mu * (up - down), base + up + down
                wrench: Triple = (v * fu - u * fv, fu, fv)
            else:
                wrench = (-u * base, 0.0, base)
            i = touch.dof
            push[i] = tuple(add(a, b) for a, b in zip(push[i], wrench, strict=True)) if i in push else wrench
        for stop in self.stops:
            pushing = -stop.sign * stop.stiffness * jnp.minimum(next(rows), 0.0)
            at_joints[stop.dof] = add(at_joints[stop.dof], pushing)
        return at_joints, push

    def slope(self, residuals: Sequence[Row], change: Sequence[Row], step: Row) -> Row:
        """d/ds of the rows' cost at residuals + s change, s = step."""
        slope: Row = 0.0
        for weight, e, d in zip(self.weights(), residuals, change, strict=True):
            slope = add(slope, weight * d * jnp.minimum(e + step * d, 0.0))
        return slope

    def weights(self) -> list[Row]:
        """D of all rows."""
        rows: list[Row] = []
        for touch in self.touches:
            rows.append(mul(touch.weight, touch.stiffness))
            rows += [touch.stiffness] * (2 if touch.friction else 0)
        return rows + [stop.stiffness for stop in self.stops]


def constraints(mechanism: Mechanism, state: Motion, q: Rows, v: Rows) -> Constraints:
    """Of a state of the tree."""
    touches = [_touch(contact, mechanism, state) for contact in mechanism.contacts]
    stops = [_stop(i, dof.limit, q[i], v[i]) for i, dof in enumerate(mechanism.dofs) if dof.limit is not None]
    return Constraints(touches, stops)


def _touch(contact: Contact, mechanism: Mechanism, state: Motion) -> Touch:
    """Half-way into the overlap is where MuJoCo has the contact's point."""
    dof = mechanism.bodies[contact.body].dof
    turn, speed_u, speed_v = state.speed[dof]
    u, v = state.frames[contact.body].point(contact.place)
    distance = v - (contact.radius + contact.floor)
    v = v - contact.radius - 0.5 * distance
    depth = distance - contact.margin
    impedance = impedance_of(contact.soft, depth)
    stiffness = jnp.where(depth < 0, impedance / ((1 - impedance) * contact.diagonal), 0.0)
    damping = contact.soft.damping
    normal = -contact.soft.stiffness * impedance * depth - damping * (speed_v - turn * u)
    tangent = -damping * contact.friction * (speed_u + turn * v)
    return Touch(dof, contact.weight, contact.friction, u, v, stiffness, normal, tangent)


def _stop(i: int, limit: Limit, q: Row, v: Row) -> Stop:
    low, high = q - limit.low, limit.high - q
    below = low < 0
    sign = jnp.where(below, 1.0, -1.0).astype(q.dtype)
    depth = jnp.where(below, low, high)
    impedance = impedance_of(limit.soft, depth)
    stiffness = jnp.where(depth < 0, impedance / ((1 - impedance) * limit.invweight), 0.0)
    reference = -limit.soft.damping * sign * v - limit.soft.stiffness * impedance * depth
    return Stop(i, sign, stiffness, reference)


def impedance_of(soft: Soft, depth: Row) -> Row:
    """MuJoCo's impedance d(r), a spline between two values (manual, "Solver parameters")."""
    start, end, width, midpoint, power = soft.impedance
    if start == end:
        return start
    x = jnp.minimum(jnp.abs(depth) * (1 / width), 1.0)
    if power == 1:
        return start + x * (end - start)
    rising, falling = _power(x, power), _power(1 - x, power)
    y = jnp.where(x <= midpoint, midpoint ** (1 - power) * rising, 1 - (1 - midpoint) ** (1 - power) * falling)
    return start + y * (end - start)


def _power(x: Row, power: float) -> Row:
    return x * x if power == 2 else x**power
