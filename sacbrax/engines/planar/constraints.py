"""Soft constraints of a planar tree, as MuJoCo has them: ends of capsules on the floor, and ranges of joints.

The acceleration a minimizes 1/2 (a - a0)' M (a - a0) + sum of D/2 min(0, J a - aref)^2 over the rows J of all
constraints. In a plane the four edges of a friction pyramid are the normal, as often as `weight` says, and the two of
normal plus and minus friction times tangent. A row that pushes adds D J' J to M, which is the stiffness of its point
seen from its body: the same tree with heavier bodies.

Contacts are computed all at once, as arrays [contacts, environments], limits as [limits, environments].
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines.planar.dynamics import Motion, Triple
from sacbrax.engines.planar.mechanism import Contact, Limit, Mechanism, Soft
from sacbrax.engines.planar.rows import Rows, add, plus


class Touches(NamedTuple):
    """The contacts [C] of a state, each array [C, N]."""

    dofs: tuple[int, ...]  # that carry them
    friction: Any  # of each: a float or [C, 1]
    normal_stiffness: Array  # D of the normal, times how often it counts; 0 where there is no contact
    edge_stiffness: Array  # D of the two edges beside it
    u: Array
    v: Array
    normal: Array  # aref of the normal
    tangent: Array  # friction times aref of the tangent


class Stops(NamedTuple):
    """The limits [K] of a state, each array [K, N]."""

    dofs: tuple[int, ...]
    sign: Array  # 1 at the lower end, -1 at the upper
    stiffness: Array  # D, 0 within the range
    reference: Array  # aref


class Constraints(NamedTuple):
    """All of a state. A family of rows is an array of e = J a - aref, which pushes where it is negative."""

    touches: Touches | None
    stops: Stops | None

    def residuals(self, joints: Rows, carried: Sequence[Triple]) -> list[Array]:
        """e at the accelerations of the joints and of what they carry: normals, upper and lower edges, limits."""
        families = []
        if (t := self.touches) is not None:
            turn, a_u, a_v = (_stack([carried[i][k] for i in t.dofs], t.u) for k in range(3))
            normal = a_v - turn * t.u - t.normal
            tangent = t.friction * (a_u + turn * t.v) - t.tangent
            families += [normal, normal + tangent, normal - tangent]
        if (s := self.stops) is not None:
            families.append(s.sign * _stack([joints[i] for i in s.dofs], s.sign) - s.reference)
        return families

    def stiffness(self) -> list[Array]:
        """D of the same families."""
        t, s = self.touches, self.stops
        touching = [] if t is None else [t.normal_stiffness, t.edge_stiffness, t.edge_stiffness]
        return touching + ([] if s is None else [s.stiffness])

    def loaded(
        self, pushing: Sequence[Array], inertia: Sequence[Any], force: Rows
    ) -> tuple[list[Any], Rows, dict[int, Triple], Rows]:
        """Inertias, joint forces, pushes on the bodies and joint inertias of the tree where these rows push."""
        heavy, forces, extra = list(inertia), list(force), [0.0] * len(force)
        push: dict[int, Triple] = {}
        *edges, last = [jnp.where(on, d, 0.0) for on, d in zip(pushing, self.stiffness(), strict=True)]
        if (t := self.touches) is not None:
            base, up, down = edges if self.stops is not None else [*edges, last]
            mu, u, v = t.friction, t.u, t.v
            both, lean = up + down, mu * (up - down)
            vv, uu = base + both, mu * mu * both
            high, low = up * (t.normal + t.tangent), down * (t.normal - t.tangent)
            fu, fv = mu * (high - low), base * t.normal + high + low
            tu, tv = v * uu - u * lean, v * lean - u * vv
            own = (v * tu - u * tv, tu, tv, uu, lean, vv)
            for c, i in enumerate(t.dofs):
                heavy[i] = plus(heavy[i], [x[c] for x in own])
            push = _wrenches(t, fu, fv)
        if (s := self.stops) is not None:
            pull = s.sign * last * s.reference
            for k, i in enumerate(s.dofs):
                extra[i], forces[i] = add(extra[i], last[k]), add(forces[i], pull[k])
        return heavy, forces, push, extra

    def forces(self, residuals: Sequence[Array], count: int) -> tuple[Rows, dict[int, Triple]]:
        """What the constraints do at accelerations with these residuals: at the joints, and on the bodies."""
        at_joints: Rows = [0.0] * count
        push: dict[int, Triple] = {}
        *edges, last = [-d * jnp.minimum(e, 0.0) for d, e in zip(self.stiffness(), residuals, strict=True)]
        if (t := self.touches) is not None:
            base, up, down = edges if self.stops is not None else [*edges, last]
            push = _wrenches(t, t.friction * (up - down), base + up + down)
        if (s := self.stops) is not None:
            for k, i in enumerate(s.dofs):
                at_joints[i] = add(at_joints[i], (s.sign * last)[k])
        return at_joints, push

    def slope(self, residuals: Sequence[Array], change: Sequence[Array], step: Array) -> Array:
        """d/ds of the rows' cost at residuals + s change, s = step [N]."""
        parts = [
            jnp.sum(d * x * jnp.minimum(e + step[None] * x, 0.0), axis=0)
            for d, e, x in zip(self.stiffness(), residuals, change, strict=True)
        ]
        return add(*parts)


def constraints(mechanism: Mechanism, state: Motion, q: Rows, v: Rows) -> Constraints:
    """Of a state of the tree."""
    limited = [(i, dof.limit) for i, dof in enumerate(mechanism.dofs) if dof.limit is not None]
    return Constraints(
        _touches(mechanism, state, q[0]) if mechanism.contacts else None, _stops(limited, q, v) if limited else None
    )


def _touches(mechanism: Mechanism, state: Motion, like: Array) -> Touches:
    """The point of a contact is half-way into the overlap."""
    contacts = mechanism.contacts

    def column(read: Any) -> Any:
        return _column([read(contact) for contact in contacts], like)

    dofs = tuple(mechanism.bodies[contact.body].dof for contact in contacts)
    like2 = jnp.broadcast_to(like[None], (len(contacts), *like.shape))
    turn, speed_u, speed_v = (_stack([state.speed[i][k] for i in dofs], like2) for k in range(3))
    frames = [state.frames[contact.body] for contact in contacts]
    at_u, at_v, cos, sin = (_stack([getattr(f, name) for f in frames], like2) for name in ("u", "v", "cos", "sin"))
    along, across = column(lambda c: c.place[0]), column(lambda c: c.place[1])
    u, height = at_u + along * cos + across * sin, at_v + across * cos - along * sin
    radius = column(lambda c: c.radius)
    distance = height - radius - column(lambda c: c.floor)
    v = height - radius - 0.5 * distance
    depth = distance - column(lambda c: c.margin)
    impedance = _impedance([contact.soft for contact in contacts], depth)
    stiffness = jnp.where(depth < 0, impedance / ((1 - impedance) * column(lambda c: c.diagonal)), 0.0)
    spring, damping = column(lambda c: c.soft.stiffness), column(lambda c: c.soft.damping)
    friction = column(lambda c: c.friction)
    return Touches(
        dofs=dofs,
        friction=friction,
        normal_stiffness=column(lambda c: c.weight) * stiffness,
        edge_stiffness=column(lambda c: float(c.friction > 0)) * stiffness,
        u=u,
        v=v,
        normal=-spring * impedance * depth - damping * (speed_v - turn * u),
        tangent=-damping * friction * (speed_u + turn * v),
    )


def _stops(limited: Sequence[tuple[int, Limit]], q: Rows, v: Rows) -> Stops:
    """A range is left at one end at most."""
    dofs = tuple(i for i, _ in limited)
    position, speed = (jnp.stack([rows[i] for i in dofs]) for rows in (q, v))

    def column(read: Any) -> Any:
        return _column([read(limit) for _, limit in limited], position)

    low, high = position - column(lambda x: x.low), column(lambda x: x.high) - position
    below = low < 0
    sign, depth = jnp.where(below, 1.0, -1.0).astype(position.dtype), jnp.where(below, low, high)
    impedance = _impedance([limit.soft for _, limit in limited], depth)
    stiffness = jnp.where(depth < 0, impedance / ((1 - impedance) * column(lambda x: x.invweight)), 0.0)
    spring, damping = column(lambda x: x.soft.stiffness), column(lambda x: x.soft.damping)
    return Stops(dofs, sign, stiffness, -damping * sign * speed - spring * impedance * depth)


def _wrenches(touches: Touches, along: Array, up: Array) -> dict[int, Triple]:
    """Forces [C, N] on the contacts, gathered by what carries them."""
    moment = touches.v * along - touches.u * up
    push: dict[int, Triple] = {}
    for c, i in enumerate(touches.dofs):
        own = (moment[c], along[c], up[c])
        push[i] = plus(push[i], own) if i in push else own
    return push


def _stack(rows: Sequence[Any], like: Array) -> Array:
    """Rows [N] and numbers as one array of the shape of `like` [C, N]."""
    return jnp.stack([jnp.broadcast_to(jnp.asarray(row, like.dtype), like.shape[1:]) for row in rows])


def _column(values: Sequence[float], like: Array) -> Any:
    """A float where all are the same, else [C, 1]."""
    if len(set(values)) == 1:
        return values[0]
    return jnp.asarray(np.asarray(values)[:, None], like.dtype)


def _impedance(softs: Sequence[Soft], depth: Array) -> Any:
    """MuJoCo's impedance d(r), a spline between two values (manual, "Solver parameters"), of depths [C, N]."""
    start, end, width, midpoint, power = (_column([soft.impedance[k] for soft in softs], depth) for k in range(5))
    if all(soft.impedance[0] == soft.impedance[1] for soft in softs):
        return start
    x = jnp.minimum(jnp.abs(depth) / width, 1.0)
    rising, falling = _power(x, power), _power(1 - x, power)
    y = jnp.where(x <= midpoint, midpoint ** (1 - power) * rising, 1 - (1 - midpoint) ** (1 - power) * falling)
    return start + y * (end - start)


def _power(x: Array, power: Any) -> Array:
    if isinstance(power, float) and power in (1.0, 2.0):
        return x if power == 1 else x * x
    return x**power


__all__ = ["Constraints", "Contact", "constraints"]
