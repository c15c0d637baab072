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

from sacbrax.core.types import Array
from sacbrax.engines.newton import joined
from sacbrax.engines.planar.dynamics import Motion, Triple
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.planar.pairs import Pairs, pairs
from sacbrax.engines.reading import Limit
from sacbrax.engines.rows import Rows, add, column, plus
from sacbrax.engines.soft import impedance, stacked


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


class Pushing(NamedTuple):
    """One array for each family of rows, [rows, N]; None for a family that the mechanism has not."""

    normal: Any = None
    upper: Any = None  # the edges of friction
    lower: Any = None
    stop: Any = None
    pair: Any = None


class Constraints(NamedTuple):
    """All of a state. A row pushes where e = J a - aref is negative."""

    touches: Touches | None
    stops: Stops | None
    pairs: Pairs | None

    def residuals(self, joints: Rows, carried: Sequence[Triple]) -> Pushing:
        """e at the accelerations of the joints and of what they carry."""
        normal = upper = lower = stop = None
        if (t := self.touches) is not None:
            turn, a_u, a_v = (stacked([carried[i][k] for i in t.dofs], t.u) for k in range(3))
            normal = a_v - turn * t.u - t.normal
            tangent = t.friction * (a_u + turn * t.v) - t.tangent
            upper, lower = normal + tangent, normal - tangent
        if (s := self.stops) is not None:
            stop = s.sign * stacked([joints[i] for i in s.dofs], s.sign) - s.reference
        return Pushing(normal, upper, lower, stop, None if self.pairs is None else self.pairs.residuals(carried))

    def stiffness(self) -> Pushing:
        """D of all rows."""
        t, s, p = self.touches, self.stops, self.pairs
        normal, edge = (None, None) if t is None else (t.normal_stiffness, t.edge_stiffness)
        return Pushing(normal, edge, edge, None if s is None else s.stiffness, None if p is None else p.stiffness)

    def loaded(
        self, pushing: Pushing, inertia: Sequence[Any], force: Rows
    ) -> tuple[list[Any], Rows, Rows, dict[int, Triple]]:
        """Inertias, joint inertias, joint forces and pushes on the bodies of the tree where these rows push, but for
        those between two bodies."""
        heavy, forces, extra = list(inertia), list(force), [0.0] * len(force)
        push: dict[int, Triple] = {}
        stiff = self.stiffness()
        if (t := self.touches) is not None:
            on = (pushing.normal, pushing.upper, pushing.lower)
            base, up, down = (jnp.where(o, d, 0.0) for o, d in zip(on, stiff[:3], strict=True))
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
            held = jnp.where(pushing.stop, s.stiffness, 0.0)
            pull = s.sign * held * s.reference
            for k, i in enumerate(s.dofs):
                extra[i], forces[i] = add(extra[i], held[k]), add(forces[i], pull[k])
        return heavy, extra, forces, push

    def forces(self, residuals: Pushing, count: int) -> tuple[Rows, dict[int, Triple]]:
        """What the constraints do at accelerations with these residuals: at the joints, and on the bodies."""
        at_joints: Rows = [0.0] * count
        push: dict[int, Triple] = {}
        force = joined(lambda d, e: -d * jnp.minimum(e, 0.0), self.stiffness(), residuals)
        if (t := self.touches) is not None:
            push = _wrenches(t, t.friction * (force.upper - force.lower), force.normal + force.upper + force.lower)
        if (s := self.stops) is not None:
            for k, i in enumerate(s.dofs):
                at_joints[i] = add(at_joints[i], (s.sign * force.stop)[k])
        if self.pairs is not None:
            for i, own in self.pairs.push(force.pair).items():
                push[i] = plus(push[i], own) if i in push else own
        return at_joints, push


def constraints(mechanism: Mechanism, state: Motion, q: Rows, v: Rows) -> Constraints:
    """Of a state of the tree."""
    limited = [(i, dof.limit) for i, dof in enumerate(mechanism.dofs) if dof.limit is not None]
    return Constraints(
        _touches(mechanism, state, q[0]) if mechanism.contacts else None,
        _stops(limited, q, v) if limited else None,
        pairs(mechanism, state, q[0]) if mechanism.pairs else None,
    )


def _touches(mechanism: Mechanism, state: Motion, like: Array) -> Touches:
    """The point of a contact is half-way into the overlap."""
    contacts = mechanism.contacts

    def of(read: Any) -> Any:
        return column([read(contact) for contact in contacts], like)

    dofs = tuple(mechanism.bodies[contact.body].dof for contact in contacts)
    like2 = jnp.broadcast_to(like[None], (len(contacts), *like.shape))
    turn, speed_u, speed_v = (stacked([state.speed[i][k] for i in dofs], like2) for k in range(3))
    frames = [state.frames[contact.body] for contact in contacts]
    at_u, at_v, cos, sin = (stacked([getattr(f, name) for f in frames], like2) for name in ("u", "v", "cos", "sin"))
    along, across = of(lambda c: c.place[0]), of(lambda c: c.place[1])
    u, height = at_u + along * cos + across * sin, at_v + across * cos - along * sin
    radius = of(lambda c: c.radius)
    distance = height - radius - of(lambda c: c.floor)
    v = height - radius - 0.5 * distance
    depth = distance - of(lambda c: c.margin)
    d = impedance([contact.soft for contact in contacts], depth)
    stiffness = jnp.where(depth < 0, d / ((1 - d) * of(lambda c: c.diagonal)), 0.0)
    spring, damping = of(lambda c: c.soft.stiffness), of(lambda c: c.soft.damping)
    friction = of(lambda c: c.friction)
    return Touches(
        dofs=dofs,
        friction=friction,
        normal_stiffness=of(lambda c: c.weight) * stiffness,
        edge_stiffness=of(lambda c: float(c.friction > 0)) * stiffness,
        u=u,
        v=v,
        normal=-spring * d * depth - damping * (speed_v - turn * u),
        tangent=-damping * friction * (speed_u + turn * v),
    )


def _stops(limited: Sequence[tuple[int, Limit]], q: Rows, v: Rows) -> Stops:
    """A range is left at one end at most."""
    dofs = tuple(i for i, _ in limited)
    position, speed = (jnp.stack([rows[i] for i in dofs]) for rows in (q, v))

    def of(read: Any) -> Any:
        return column([read(limit) for _, limit in limited], position)

    low, high = position - of(lambda x: x.low), of(lambda x: x.high) - position
    below = low < 0
    sign, depth = jnp.where(below, 1.0, -1.0).astype(position.dtype), jnp.where(below, low, high)
    d = impedance([limit.soft for _, limit in limited], depth)
    stiffness = jnp.where(depth < 0, d / ((1 - d) * of(lambda x: x.invweight)), 0.0)
    spring, damping = of(lambda x: x.soft.stiffness), of(lambda x: x.soft.damping)
    return Stops(dofs, sign, stiffness, -damping * sign * speed - spring * d * depth)


def _wrenches(touches: Touches, along: Array, up: Array) -> dict[int, Triple]:
    """Forces [C, N] on the contacts, gathered by what carries them."""
    moment = touches.v * along - touches.u * up
    push: dict[int, Triple] = {}
    for c, i in enumerate(touches.dofs):
        own = (moment[c], along[c], up[c])
        push[i] = plus(push[i], own) if i in push else own
    return push
