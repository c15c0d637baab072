"""Contacts between two bodies of a planar mechanism, capsules or spheres: where they touch, and as constraints.

The rows of such a contact couple two bodies, so they are no heavier bodies of the same tree. `coupled` adds their
stiffness to the mass matrix as the numbers of a matrix.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines.planar.dense import columns
from sacbrax.engines.planar.dynamics import Frame, Motion, Triple
from sacbrax.engines.planar.mechanism import Mechanism, Segment
from sacbrax.engines.rows import add, column, dot, plus, scale
from sacbrax.engines.soft import impedance, stacked

Edges = tuple[Array, ...]  # one array [P, N] for each edge of a pyramid of friction; one alone where no pair has any


class Pairs(NamedTuple):
    """The contacts [P] of a state, each array [P, N]; every edge of each is a row."""

    ones: tuple[int, ...]  # dofs that carry the first bodies, -1 for the world
    twos: tuple[int, ...]
    u: Array
    v: Array
    along: Edges  # the direction in which a row pushes the second body; the first feels the opposite
    up: Edges
    stiffness: Edges  # D; 0 where there is no contact
    reference: Edges  # aref

    def apart(self, carried: Sequence[Triple]) -> tuple[Array, Array]:
        """How the second bodies' points move beside the first's, at motions of what the joints carry."""
        one, two = (columns([_of(carried, i) for i in dofs], self.u) for dofs in (self.ones, self.twos))
        turn, along, up = (b - a for a, b in zip(one, two, strict=True))
        return along + turn * self.v, up - turn * self.u

    def residuals(self, carried: Sequence[Triple]) -> Edges:
        """e = J a - aref."""
        along, up = self.apart(carried)
        rows = zip(self.along, self.up, self.reference, strict=True)
        return tuple(a * along + b * up - reference for a, b, reference in rows)

    def push(self, force: Edges) -> dict[int, Triple]:
        """Forces of the rows, gathered by what feels them."""
        along, up = dot(force, self.along), dot(force, self.up)
        wrench = self.v * along - self.u * up, along, up
        felt: dict[int, Triple] = {}
        for p, (one, two) in enumerate(zip(self.ones, self.twos, strict=True)):
            for i, sign in ((one, -1.0), (two, 1.0)):
                if i >= 0:
                    own = scale(sign, [x[p] for x in wrench])
                    felt[i] = plus(felt[i], own) if i in felt else own
        return felt


def pairs(mechanism: Mechanism, state: Motion, like: Array) -> Pairs:
    """Of a state of the tree."""
    own = mechanism.pairs
    like = jnp.broadcast_to(like[None], (len(own), *like.shape))

    def of(read: Any) -> Any:
        return column([read(pair) for pair in own], like)

    one, two = (_Axis.of([getattr(pair, name) for pair in own], state.frames, like) for name in ("one", "two"))
    (u, v), (n_u, n_v), gap, crossing = _nearest(one, two)
    radius = of(lambda pair: pair.one.radius)
    distance = gap - radius - of(lambda pair: pair.two.radius)
    u, v = u + n_u * (radius + 0.5 * distance), v + n_v * (radius + 0.5 * distance)
    depth = distance - of(lambda pair: pair.margin)
    d = impedance([pair.soft for pair in own], depth)
    stiffness = jnp.where(depth < 0, d / ((1 - d) * of(lambda pair: pair.diagonal)), 0.0)
    edges = [(n_u, n_v, stiffness)]
    if any(pair.friction for pair in own):
        # Across the plane and along it are the tangents of a normal in the plane. Axes that cross have no nearest
        # points: MuJoCo's normal is then the one across the plane, and both tangents are in it.
        mu = of(lambda pair: pair.friction)
        flat = [(0.0, jnp.where(crossing, mu, 0.0)), (mu * jnp.where(crossing, 1.0, -n_v), mu * n_u)]
        rubbing = of(lambda pair: float(pair.friction > 0)) * stiffness  # without friction the normal counts once
        ways = [(sign, *tangent) for tangent in flat for sign in (1, -1)]
        edges = [(n_u + s * t_u, n_v + s * t_v, rubbing if k else stiffness) for k, (s, t_u, t_v) in enumerate(ways)]
    along, up, stiff = zip(*edges, strict=True)
    found = Pairs(
        ones=tuple(mechanism.bodies[pair.one.body].dof for pair in own),
        twos=tuple(mechanism.bodies[pair.two.body].dof for pair in own),
        u=u,
        v=v,
        along=along,
        up=up,
        stiffness=stiff,
        reference=(),
    )
    pull, damping = of(lambda pair: pair.soft.stiffness) * d * depth, of(lambda pair: pair.soft.damping)
    v_u, v_v = found.apart(state.speed)
    return found._replace(
        reference=tuple(-damping * (a * v_u + b * v_v) - pull for a, b in zip(along, up, strict=True))
    )


def coupled(
    mechanism: Mechanism, axis: Sequence[Triple], rows: Pairs, pushing: Edges, residuals: Edges, matrix: list[Array]
) -> tuple[list[Array], Array]:
    """The mass matrix with the stiffness of the rows that push, and what they do at the joints, [nv, N], at these
    residuals.

    One pair after the other, of those that push in some lane: hardly any do. A pair's two directions move with the
    joints that carry one of its bodies and not the other.
    """
    count = len(rows.ones)
    signs = np.zeros((count, len(axis), 1))
    for p in range(count):
        signs[p, mechanism.carriers(rows.ones[p])] -= 1
        signs[p, mechanism.carriers(rows.twos[p])] += 1
    first = int(signs.any(axis=(0, 2)).argmax())  # the joints before carry both bodies of every pair, or none
    turn, a_u, a_v = columns(axis[first:], rows.u)
    held = [jnp.where(on, d, 0.0) for on, d in zip(pushing, rows.stiffness, strict=True)]
    force = [-d * e for d, e in zip(held, residuals, strict=True)]
    kinds = [(force, rows.along), (force, rows.up)]
    kinds += [
        ([d * x for d, x in zip(held, side, strict=True)], other)
        for side, other in ((rows.along, rows.along), (rows.along, rows.up), (rows.up, rows.up))
    ]
    of_pairs = [jnp.asarray(signs[:, first:], rows.u.dtype), rows.u, rows.v, *(dot(*kind) for kind in kinds)]
    index, touching = np.arange(count, dtype=np.int32), (add(*held) > 0).any(axis=1)

    def following(p: Any) -> Array:
        """The next pair that pushes; their number after the last."""
        return jnp.min(jnp.where(touching & (index > p), index, count))

    def stiffen(now: Any) -> Any:
        p, stiff, at_joints = now
        sign, *numbers = (jax.lax.dynamic_index_in_dim(x, p, keepdims=False) for x in of_pairs)
        u, v, f_u, f_v, uu, uv, vv = (x[None] for x in numbers)
        along, up = sign * (a_u + turn * v), sign * (a_v - turn * u)
        pulls = uu * along + uv * up, uv * along + vv * up
        stiff = [
            row + along[i : i + 1] * pulls[0][: i + 1] + up[i : i + 1] * pulls[1][: i + 1]
            for i, row in enumerate(stiff)
        ]
        return following(p), stiff, at_joints + along * f_u + up * f_v

    begin = (following(-1), [row[first:] for row in matrix[first:]], jnp.zeros_like(a_u))
    _, stiff, at_joints = jax.lax.while_loop(lambda now: now[0] < count, stiffen, begin)
    beside = zip(matrix[first:], stiff, strict=True)
    whole = matrix[:first] + [jnp.concatenate([row[:first], own]) for row, own in beside]
    return whole, jnp.pad(at_joints, ((first, 0), (0, 0)))


class _Axis(NamedTuple):
    """Segments [P]: centres, and from there to one end, each [P, N]."""

    u: Array
    v: Array
    half_u: Array
    half_v: Array
    length2: Any  # of the half, squared: a float or [P, 1]

    @staticmethod
    def of(segments: Sequence[Segment], frames: Sequence[Frame], like: Array) -> "_Axis":
        ends = [frames[s.body].point(s.centre) for s in segments]
        halves = [frames[s.body]._replace(u=0.0, v=0.0).point(s.half) for s in segments]
        u, v, half_u, half_v = (stacked([x[k] for x in places], like) for places in (ends, halves) for k in range(2))
        return _Axis(u, v, half_u, half_v, column([s.half[0] ** 2 + s.half[1] ** 2 for s in segments], like))


def _nearest(one: _Axis, two: _Axis) -> tuple[tuple[Array, Array], tuple[Array, Array], Array, Array]:
    """Of two segments: the first's point nearest to the second, the direction from there to the second's, their
    distance, and whether they cross, which leaves no direction."""
    gap_u, gap_v = one.u - two.u, one.v - two.v
    along = one.half_u * two.half_u + one.half_v * two.half_v
    a, b = -(one.half_u * gap_u + one.half_v * gap_v), two.half_u * gap_u + two.half_v * gap_v
    turned = one.half_u * two.half_v - one.half_v * two.half_u
    determinant = turned * turned
    parallel = determinant == 0
    free = jnp.where(parallel, a / _positive(one.length2), two.length2 * a + along * b)
    free = free / jnp.where(parallel, 1.0, determinant)
    x = jnp.clip(free, -1.0, 1.0)
    beyond = (b + along * x) / _positive(two.length2)
    y = jnp.clip(beyond, -1.0, 1.0)
    x = jnp.where(jnp.abs(beyond) > 1, jnp.clip((a + along * y) / _positive(one.length2), -1.0, 1.0), x)
    crossing = (jnp.abs(free) < 1) & (jnp.abs(beyond) < 1) & ~parallel
    u, v = one.u + x * one.half_u, one.v + x * one.half_v
    to_u, to_v = two.u + y * two.half_u - u, two.v + y * two.half_v - v
    distance2 = to_u * to_u + to_v * to_v
    crossing = crossing | (distance2 == 0)
    distance = jnp.sqrt(jnp.where(crossing, 1.0, distance2))
    share = jnp.where(crossing, 0.0, 1 / distance)
    return (u, v), (to_u * share, to_v * share), jnp.where(crossing, 0.0, distance), crossing


def _positive(length2: Any) -> Any:
    """Spheres are segments without a length, which every share of it leaves where it is."""
    return max(length2, 1e-30) if isinstance(length2, float) else jnp.maximum(length2, 1e-30)


def _of(carried: Sequence[Triple], dof: int) -> Triple:
    """The motion of what a joint carries; the world's is none."""
    return carried[dof] if dof >= 0 else (0.0, 0.0, 0.0)
