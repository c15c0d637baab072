"""Contacts between two bodies of a planar mechanism, capsules or spheres: where they touch, and as constraints.

The rows of such a contact couple two bodies, so they are no heavier bodies of the same tree. Their stiffness is a
correction of low rank, which `corrected` adds to a solve without them (Woodbury's identity).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines.planar.dynamics import Frame, Motion, Triple
from sacbrax.engines.planar.mechanism import Mechanism, Segment
from sacbrax.engines.rows import add, column
from sacbrax.engines.soft import impedance, stacked


class Pairs(NamedTuple):
    """The rows [R] of the contacts of a state, each array [R, N]."""

    ones: tuple[int, ...]  # dofs that carry the first bodies, -1 for the world
    twos: tuple[int, ...]
    wrench: Triple  # of a unit force of the row on the second body; the first feels its opposite
    stiffness: Array  # D; 0 where there is no contact
    reference: Array  # aref

    def change(self, carried: Callable[[int], Triple]) -> Array:
        """J a of motions a of what the joints carry."""
        like = self.stiffness
        one, two = ([stacked([carried(i)[k] for i in dofs], like) for k in range(3)] for dofs in (self.ones, self.twos))
        return add(*(f * (b - a) for f, a, b in zip(self.wrench, one, two, strict=True)))

    def residuals(self, carried: Sequence[Triple]) -> Array:
        """e = J a - aref."""
        return self.change(lambda i: _of(carried, i)) - self.reference

    def unit_pushes(self) -> dict[int, Triple]:
        """Of every row by itself: its wrench on what hangs on each joint that feels it, [R, N]."""
        signs = {i: np.zeros((len(self.ones), 1), np.float32) for i in {*self.ones, *self.twos} if i >= 0}
        for r, (one, two) in enumerate(zip(self.ones, self.twos, strict=True)):
            for i, sign in ((one, -1), (two, 1)):
                if i >= 0:
                    signs[i][r] += sign
        dtype = self.stiffness.dtype
        return {i: tuple(jnp.asarray(sign, dtype) * f for f in self.wrench) for i, sign in sorted(signs.items())}

    def push(self, force: Array) -> dict[int, Triple]:
        """Forces [R, N] of the rows, gathered by what feels them."""
        return {i: tuple(jnp.sum(force * f, axis=0) for f in unit) for i, unit in self.unit_pushes().items()}


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
    # Across the plane and along it are the tangents of a normal in the plane. Axes that cross have no nearest points:
    # MuJoCo's normal is then the one across the plane, and both tangents are in it.
    flat = [(jnp.zeros_like(u), jnp.where(crossing, 1.0, 0.0)), (jnp.where(crossing, 1.0, -n_v), n_u)]
    rubbing = [i for i, pair in enumerate(own) if pair.friction]
    smooth = [i for i, pair in enumerate(own) if not pair.friction]
    sides: list[tuple[list[int], Array, Array]] = [(smooth, n_u, n_v)] if smooth else []
    for t_u, t_v in flat if rubbing else []:
        mu = of(lambda pair: pair.friction)
        sides += [(rubbing, n_u + mu * t_u, n_v + mu * t_v), (rubbing, n_u - mu * t_u, n_v - mu * t_v)]
    rows = [i for chosen, _, _ in sides for i in chosen]

    def gather(x: Any) -> Array:
        return x[np.asarray(rows)] if rows != list(range(len(own))) else x

    f_u = jnp.concatenate([x[np.asarray(chosen)] for chosen, x, _ in sides])
    f_v = jnp.concatenate([x[np.asarray(chosen)] for chosen, _, x in sides])
    found = Pairs(
        ones=tuple(mechanism.bodies[own[i].one.body].dof for i in rows),
        twos=tuple(mechanism.bodies[own[i].two.body].dof for i in rows),
        wrench=(gather(v) * f_u - gather(u) * f_v, f_u, f_v),
        stiffness=gather(stiffness),
        reference=gather(of(lambda pair: pair.soft.stiffness) * d * depth),
    )
    speed = found.change(lambda i: _of(state.speed, i))
    damping = column([own[i].soft.damping for i in rows], found.stiffness)
    return found._replace(reference=-damping * speed - found.reference)


def corrected(
    solve: Callable[[dict[int, Triple]], tuple[Sequence[Array], Sequence[Triple]]],
    rows: Pairs,
    pushing: Array,
    residual: Array,
) -> list[Array]:
    """What the rows that push change of joint accelerations, [nv] of [N], that were found without them.

    solve: accelerations of the joints, [nv] of [R, N], and motions of what they carry under pushes alone.
    residual: of the rows, without them.

    The forces f obey f = -D (e + G f), where G = J H^-1 J' is what they do to each other: [R, R] equations by
    elimination, without pivots, since 1 + D G has none that is not positive.
    """
    joints, carried = solve(rows.unit_pushes())
    count = len(rows.ones)
    weight = jnp.where(pushing, rows.stiffness, 0.0)

    def by_row(i: int) -> Triple:  # [R, R, N]: of the motion of body i by every row's force
        return tuple(jnp.broadcast_to(jnp.asarray(x, weight.dtype), weight.shape) for x in _of(carried, i))

    one, two = ([jnp.stack([by_row(i)[k] for i in dofs]) for k in range(3)] for dofs in (rows.ones, rows.twos))
    coupling = add(*(f[:, None] * (b - a) for f, a, b in zip(rows.wrench, one, two, strict=True)))
    unit = jnp.asarray(np.eye(count)[:, :, None], weight.dtype)
    system = jnp.concatenate([unit + weight[:, None] * coupling, -(weight * residual)[:, None]], axis=1)
    for p in range(count):
        others = jnp.asarray((np.arange(count) != p)[:, None], weight.dtype)
        factor = others * system[:, p] / system[p, p][None]
        system = system - factor[:, None] * system[p][None]
    force = jnp.stack([system[p, count] / system[p, p] for p in range(count)])
    return [jnp.sum(force * x, axis=0) for x in joints]


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
