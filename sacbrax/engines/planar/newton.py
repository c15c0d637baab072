"""The accelerations that minimize MuJoCo's cost: Newton's method, whose every step is one sweep over a heavier tree.

Between the kinks of the cost it is quadratic, so a step with the right rows pushing ends at the minimum, and it is
there where the same rows push afterwards. Full steps nearly always get there in two or three. Where `FULL` of them have
not, an exact line search goes on, which always does.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from sacbrax.core.types import Array
from sacbrax.engines.planar.constraints import Constraints, Pushing, joined, total
from sacbrax.engines.planar.dynamics import Factors, Motion, accelerations, apply, factored, substituted
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.planar.pairs import corrected
from sacbrax.engines.planar.rows import Rows, add, dot

FULL = 8
LONGEST = 40  # steps in all; in float32 a row within rounding of its kink may flip for ever
BISECTIONS = 24


def minimize(mechanism: Mechanism, state: Motion, rows: Constraints, start: Rows) -> tuple[Rows, Pushing]:
    """Accelerations [nv] at the minimum, and the residuals of all rows there, from a guess `start` [nv]."""

    def newton(pushing: Pushing) -> tuple[Rows, Pushing]:
        heavy, extra, force, push = rows.loaded(pushing, state.inertia, state.force)
        tree = factored(mechanism, state.axis, heavy, extra)
        joints, carried = substituted(mechanism, state.axis, tree, force, push)
        found = joints, rows.residuals(joints, carried)
        return found if rows.pairs is None else _coupled(mechanism, state, rows, tree, pushing, *found)

    if all(family is None for family in rows.stiffness()):
        return newton(Pushing())

    def step(carry: Any) -> Any:
        k, _, joints, found = carry
        pushing = joined(lambda e: e < 0, found)
        target, there = newton(pushing)
        changed = _changed(pushing, there, rows)

        def search(now: Any) -> Any:
            _, target, there = now
            size = _line_search(mechanism, state, rows, joints, found, target, there)
            size = jnp.where(functools.reduce(jnp.logical_or, [x.any(axis=0) for x in changed]), size, 1.0)
            between = functools.partial(_between, size)
            return False, [between(a, b) for a, b in zip(joints, target, strict=True)], joined(between, found, there)

        # A loop of one round or none, which costs nothing where full steps do.
        _, joints, found = jax.lax.while_loop(lambda now: now[0], search, (k >= FULL, target, there))
        return k + 1, functools.reduce(jnp.logical_or, [x.any() for x in changed]), joints, found

    begin = (jnp.int32(0), True, start, rows.residuals(start, accelerations(mechanism, state.axis, start)))
    _, _, joints, found = jax.lax.while_loop(lambda carry: carry[1] & (carry[0] < LONGEST), step, begin)
    return joints, found


def _coupled(
    mechanism: Mechanism,
    state: Motion,
    rows: Constraints,
    tree: Factors,
    pushing: Pushing,
    joints: Rows,
    found: Pushing,
) -> tuple[Rows, Pushing]:
    """The same with the contacts between two bodies, in a loop of one round or none: bodies hardly ever touch."""
    pairs = rows.pairs
    assert pairs is not None

    def correct(now: Any) -> Any:
        _, joints, found = now
        alone = functools.partial(
            substituted,
            mechanism,
            [_widened(axis) for axis in state.axis],
            Factors(*([_widened(x) for x in part] for part in tree)),
            [0.0] * len(mechanism.dofs),
        )
        change = corrected(alone, pairs, pushing.pair, found.pair)
        joints = [a + b for a, b in zip(joints, change, strict=True)]
        return False, joints, rows.residuals(joints, accelerations(mechanism, state.axis, joints))

    _, joints, found = jax.lax.while_loop(lambda now: now[0], correct, ((pairs.stiffness > 0).any(), joints, found))
    return joints, found


def _widened(x: Any) -> Any:
    """Rows [N] of one solve for many right-hand sides, [1, N]."""
    return tuple(map(_widened, x)) if isinstance(x, tuple) else x if isinstance(x, float) else x[None]


def _between(share: Array, start: Array, end: Array) -> Array:
    """`end` itself where the share is 1."""
    share = share if start.ndim == 1 else share[None]
    return jnp.where(share == 1, end, start + share * (end - start))


def _changed(pushing: Pushing, there: Pushing, rows: Constraints) -> list[Array]:
    """Where other rows push than did, of each kind of constraint. A row without stiffness does not count."""
    changed = joined(lambda a, e, d: (a ^ (e < 0)) & (d > 0), pushing, there, rows.stiffness())
    touches = [] if rows.touches is None else [changed.normal | changed.upper | changed.lower]
    return touches + [x for x in (changed.stop, changed.pair) if x is not None]


def _line_search(
    mechanism: Mechanism,
    state: Motion,
    rows: Constraints,
    joints: Rows,
    found: Pushing,
    target: Rows,
    there: Pushing,
) -> Array:
    """The share of the way to `target` where the cost is least, by bisection of its slope, which only rises."""
    way = [b - a for a, b in zip(joints, target, strict=True)]
    change = joined(lambda a, b: b - a, found, there)
    moved = accelerations(mechanism, state.axis, way)
    own = [dot(a, apply(i, a)) for i, a in zip(state.inertia, moved, strict=True) if i is not None]
    curvature = add(*own, *(dof.armature * d * d for dof, d in zip(mechanism.dofs, way, strict=True)))
    # `target` is the minimum of the quadratic with the rows of now, which has the same slope here.
    pushed = joined(lambda d, e, x: jnp.where(e < 0, d * x * x, 0.0), rows.stiffness(), found, change)
    zero = jnp.zeros_like(way[0])
    smooth = -add(curvature, total(pushed)) - rows.slope(found, change, zero)

    def halve(ends: Any) -> Any:
        i, low, high = ends
        middle = 0.5 * (low + high)
        rising = smooth + middle * curvature + rows.slope(found, change, middle) > 0
        return i + 1, jnp.where(rising, low, middle), jnp.where(rising, middle, high)

    begin = (jnp.int32(0), zero, zero + 1.0)
    _, low, high = jax.lax.while_loop(lambda ends: ends[0] < BISECTIONS, halve, begin)
    return 0.5 * (low + high)
