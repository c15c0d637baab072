"""Soft constraints of a tree in space, as MuJoCo has them: ends of capsules on the floor, and ranges of joints.

The acceleration a minimizes 1/2 (a - a0)' M (a - a0) + sum of D/2 min(0, J a - aref)^2 over the rows J of all
constraints. A contact has four, the edges of its friction pyramid: normal plus and minus friction times one tangent,
and the same with the other. One without friction is its normal four times, each with a quarter of D. The floor is
level, so that normals are the world's z and tangents lie in x and y.

Contacts are computed all at once, as arrays [contacts, N], limits as [limits, N].
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines.newton import joined
from sacbrax.engines.reading import Limit
from sacbrax.engines.rows import add, column
from sacbrax.engines.soft import impedance
from sacbrax.engines.space.dynamics import Coordinates, State
from sacbrax.engines.space.groups import Totals, taken, vectors
from sacbrax.engines.space.mechanism import Mechanism
from sacbrax.engines.space.vectors import Inertia, Motion, Vector, at_point, of_point, stiff_point, turned


class Touches(NamedTuple):
    """The contacts [C] of a state, each array [C, N]."""

    point: Vector  # half-way into the overlap
    along: Array  # x and y of one tangent; the other is (-aside, along)
    aside: Array
    friction: Any  # of each: a float or [C, 1]
    stiffness: Array  # D of each edge; 0 where there is no contact
    normal: Array  # aref of the normal
    tangents: tuple[Array, Array]  # friction times aref of the tangents


class Stops(NamedTuple):
    """The limits [K] of a state, each array [K, N]."""

    sign: Array  # 1 at the lower end, -1 at the upper
    stiffness: Array  # D, 0 within the range
    reference: Array  # aref


class Pushing(NamedTuple):
    """One array for each family of rows; None for one that the mechanism has not."""

    edges: Any = None  # four arrays [C, N]
    stop: Any = None  # [K, N]


class Constraints(NamedTuple):
    """All of a state. A row pushes where e = J a - aref is negative."""

    mechanism: Mechanism
    touches: Touches | None
    stops: Stops | None

    def residuals(self, joints: Coordinates, root: Motion, carried: Sequence[Motion]) -> Pushing:
        """e at the accelerations of the joints and of what they carry."""
        edges = stop = None
        if (t := self.touches) is not None:
            nodes = [contact.node for contact in self.mechanism.contacts]
            x, y, z = of_point(taken(self.mechanism, nodes, root, carried), t.point)
            normal = z - t.normal
            first = t.friction * (x * t.along + y * t.aside) - t.tangents[0]
            second = t.friction * (y * t.along - x * t.aside) - t.tangents[1]
            edges = (normal + first, normal - first, normal + second, normal - second)
        if (s := self.stops) is not None:
            (a,) = taken(self.mechanism, _limited(self.mechanism), (0.0,), [(x,) for x in joints.nodes])
            stop = s.sign * a - s.reference
        return Pushing(edges, stop)

    def stiffness(self) -> Pushing:
        """D of all rows."""
        t, s = self.touches, self.stops
        return Pushing(None if t is None else (t.stiffness,) * 4, None if s is None else s.stiffness)

    def loaded(self, pushing: Pushing, state: State) -> tuple[Inertia | None, list[Inertia], list[Any], Any, Totals]:
        """Inertias of the root and of what hangs on the nodes, joint inertias, joint forces and pushes on the bodies of
        the tree where these rows push."""
        heavy, force = Totals(self.mechanism), Totals(self.mechanism)
        extra: list[Any] = [0.0] * len(state.inertia)
        joints = list(state.force.nodes)
        if (t := self.touches) is not None:
            nodes = [contact.node for contact in self.mechanism.contacts]
            first, first_back, second, second_back = (jnp.where(on, t.stiffness, 0.0) for on in pushing.edges)
            heavy.give_to(nodes, stiff_point(t.point, _seen(t, first, first_back, second, second_back)))
            one, two = t.tangents
            force.give_to(
                nodes,
                self._wrenches(
                    first * (t.normal + one),
                    first_back * (t.normal - one),
                    second * (t.normal + two),
                    second_back * (t.normal - two),
                ),
            )
        if (s := self.stops) is not None:
            held = jnp.where(pushing.stop, s.stiffness, 0.0)
            stopped = Totals(self.mechanism)
            stopped.give_to(_limited(self.mechanism), (held, s.sign * held * s.reference))
            for g, found in enumerate(stopped.groups):
                if found is not None:
                    extra[g], joints[g] = found[0], add(joints[g], found[1])
        root = state.root_inertia
        if root is not None and heavy.root is not None:
            root = tuple(a + b for a, b in zip(root, heavy.root, strict=True))
        inertia = [
            own if more is None else tuple(a + b for a, b in zip(own, more, strict=True))
            for own, more in zip(state.inertia, heavy.groups, strict=True)
        ]
        return root, inertia, extra, Coordinates(state.force.root, joints), force

    def forces(self, residuals: Pushing) -> tuple[Vector | None, Array | None]:
        """What the constraints do at accelerations with these residuals: forces of the contacts, each [C, N], and of
        the limits [K, N]."""
        force = joined(lambda d, e: -d * jnp.minimum(e, 0.0), self.stiffness(), residuals)
        at_points = None if self.touches is None else self._at_points(*force.edges)
        return at_points, None if self.stops is None else self.stops.sign * force.stop

    def pushes(self, residuals: Pushing, state: State) -> tuple[Coordinates, Totals]:
        """The same added to the forces at the joints, and gathered on the bodies."""
        at_points, at_joints = self.forces(residuals)
        push, stopped = Totals(self.mechanism), Totals(self.mechanism)
        if self.touches is not None and at_points is not None:
            nodes = [contact.node for contact in self.mechanism.contacts]
            push.give_to(nodes, at_point(self.touches.point, at_points))
        if at_joints is not None:
            stopped.give_to(_limited(self.mechanism), (at_joints,))
        own = [add(x, 0.0 if y is None else y[0]) for x, y in zip(state.force.nodes, stopped.groups, strict=True)]
        return Coordinates(state.force.root, own), push

    def _wrenches(self, *edges: Array) -> Motion:
        assert self.touches is not None
        return at_point(self.touches.point, self._at_points(*edges))

    def _at_points(self, first: Array, first_back: Array, second: Array, second_back: Array) -> Vector:
        """Forces of the edges as vectors."""
        t = self.touches
        assert t is not None
        one, two = t.friction * (first - first_back), t.friction * (second - second_back)
        up = first + first_back + second + second_back
        return one * t.along - two * t.aside, one * t.aside + two * t.along, up


def _seen(t: Touches, first: Array, first_back: Array, second: Array, second_back: Array) -> tuple[Array, ...]:
    """The stiffness of a point [xx xy xz yy yz zz] whose edges have these."""
    one, two = first + first_back, second + second_back
    lean, tilt = t.friction * (first - first_back), t.friction * (second - second_back)
    mm = t.friction * t.friction
    aa, ab, bb = t.along * t.along, t.along * t.aside, t.aside * t.aside
    xx, xy, yy = mm * (one * aa + two * bb), mm * (one - two) * ab, mm * (one * bb + two * aa)
    return xx, xy, lean * t.along - tilt * t.aside, yy, lean * t.aside + tilt * t.along, one + two


def _limited(mechanism: Mechanism) -> list[int]:
    return [i for i, node in enumerate(mechanism.nodes) if node.limit is not None]


def constraints(mechanism: Mechanism, state: State, height: Any, q: list[Array], v: list[Array]) -> Constraints:
    """Of a state of the tree, whose reference is at `height` [1, N], or 0."""
    return Constraints(
        mechanism,
        _touches(mechanism, state, height) if mechanism.contacts else None,
        _stops(mechanism, q, v) if _limited(mechanism) else None,
    )


def _touches(mechanism: Mechanism, state: State, height: Any) -> Touches:
    contacts = mechanism.contacts
    nodes = [contact.node for contact in contacts]
    frames = [(*x, *y, *z, *o) for (x, y, z), o in zip(state.frames.columns, state.frames.origins, strict=True)]
    at_root = (*(x for column in state.frames.root for x in column), 0.0, 0.0, 0.0)
    found = taken(mechanism, nodes, at_root, frames)
    columns, origin = (found[:3], found[3:6], found[6:9]), found[9:]
    like = next(x for x in found if not isinstance(x, float))
    like = jnp.broadcast_to(like, (len(contacts), like.shape[1]))

    def of(read: Any) -> Any:
        return column([read(contact) for contact in contacts], like)

    out = turned(columns, vectors([contact.place for contact in contacts], like))
    x, y, z = (jnp.broadcast_to(a + b, like.shape) for a, b in zip(origin, out, strict=True))
    distance = z + height - of(lambda c: c.radius) - of(lambda c: c.floor)
    point = (x, y, z - of(lambda c: c.radius) - 0.5 * distance)
    along, aside = _tangent(columns, contacts, like)
    depth = distance - of(lambda c: c.margin)
    d = impedance([contact.soft for contact in contacts], depth)
    edges = of(lambda c: 1.0 if c.friction else 4.0)
    stiffness = jnp.where(depth < 0, d / ((1 - d) * of(lambda c: c.diagonal) * edges), 0.0)
    spring, damping = of(lambda c: c.soft.stiffness), of(lambda c: c.soft.damping)
    friction = of(lambda c: c.friction)
    speed = of_point(taken(mechanism, nodes, state.root_speed, state.speed), point)
    rub = -damping * friction
    return Touches(
        point=point,
        along=along,
        aside=aside,
        friction=friction,
        stiffness=stiffness,
        normal=-spring * d * depth - damping * speed[2],
        tangents=(
            rub * (speed[0] * along + speed[1] * aside),
            rub * (speed[1] * along - speed[0] * aside),
        ),
    )


def _tangent(columns: Any, contacts: Sequence[Any], like: Array) -> tuple[Array, Array]:
    """Of a capsule the direction of its axis along the floor; of a sphere y, as MuJoCo has it."""
    axes = [np.zeros(3) if contact.axis is None else contact.axis for contact in contacts]
    x, y, _ = (jnp.broadcast_to(a, like.shape) for a in turned(columns, vectors(axes, like)))
    length = jnp.sqrt(jnp.maximum(x * x + y * y, 1e-30))
    x, y = x / length, y / length
    sphere = np.array([contact.axis is None for contact in contacts])
    if not sphere.any():
        return x, y
    ours = jnp.asarray(sphere[:, None])
    return jnp.where(ours, 0.0, x), jnp.where(ours, 1.0, y)


def _stops(mechanism: Mechanism, q: list[Array], v: list[Array]) -> Stops:
    """A range is left at one end at most."""
    nodes = _limited(mechanism)
    limits: list[Limit] = [limit for i in nodes if (limit := mechanism.nodes[i].limit) is not None]
    position, speed = taken(mechanism, nodes, (0.0, 0.0), list(zip(q, v, strict=True)))

    def of(read: Any) -> Any:
        return column([read(limit) for limit in limits], position)

    low, high = position - of(lambda x: x.low), of(lambda x: x.high) - position
    below = low < 0
    sign, depth = jnp.where(below, 1.0, -1.0).astype(position.dtype), jnp.where(below, low, high)
    d = impedance([limit.soft for limit in limits], depth)
    stiffness = jnp.where(depth < 0, d / ((1 - d) * of(lambda x: x.invweight)), 0.0)
    spring, damping = of(lambda x: x.soft.stiffness), of(lambda x: x.soft.damping)
    return Stops(sign, stiffness, -damping * sign * speed - spring * d * depth)
