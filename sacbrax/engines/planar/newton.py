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
from sacbrax.engines.planar.constraints import Constraints
from sacbrax.engines.planar.dynamics import Motion, accelerations, apply, solve
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.planar.rows import Rows, add, dot

FULL = 8
LONGEST = 40  # steps in all; in float32 a row within rounding of its kink may flip for ever
BISECTIONS = 24


def minimize(mechanism: Mechanism, state: Motion, rows: Constraints, start: Rows) -> tuple[Rows, list[Array]]:
    """Accelerations [nv] at the minimum, and the residuals of all rows there, from a guess `start` [nv]."""

    def newton(pushing: list[Array]) -> tuple[Rows, list[Array]]:
        joints, carried = solve(mechanism, state.axis, *rows.loaded(pushing, state.inertia, state.force))
        return joints, rows.residuals(joints, carried)

    if not rows.stiffness():
        return newton([])

    def step(carry: Any) -> Any:
        k, _, joints, found = carry
        pushing = [e < 0 for e in found]
        target, there = newton(pushing)
        changed = _changed(pushing, there, rows)

        def search(now: Any) -> Any:
            _, target, there = now
            size = _line_search(mechanism, state, rows, joints, found, target, there)
            size = jnp.where(functools.reduce(jnp.logical_or, [x.any(axis=0) for x in changed]), size, 1.0)
            return False, _between(joints, target, size), _between(found, there, size)

        # A loop of one round or none, which costs nothing where full steps do.
        _, joints, found = jax.lax.while_loop(lambda now: now[0], search, (k >= FULL, target, there))
        return k + 1, functools.reduce(jnp.logical_or, [x.any() for x in changed]), joints, found

    begin = (jnp.int32(0), True, start, rows.residuals(start, accelerations(mechanism, state.axis, start)))
    _, _, joints, found = jax.lax.while_loop(lambda carry: carry[1] & (carry[0] < LONGEST), step, begin)
    return joints, found


def _between(start: list[Array], end: list[Array], share: Array) -> list[Array]:
    """`end` itself where the share is 1."""
    shares = [share if a.ndim == 1 else share[None] for a in start]
    return [jnp.where(s == 1, b, a + s * (b - a)) for a, b, s in zip(start, end, shares, strict=True)]


def _changed(pushing: list[Array], there: list[Array], rows: Constraints) -> list[Array]:
    """Where other rows push than did, of contacts and limits. A row without stiffness does not count."""
    changed = [(a ^ (e < 0)) & (d > 0) for a, e, d in zip(pushing, there, rows.stiffness(), strict=True)]
    touches = [changed[0] | changed[1] | changed[2]] if rows.touches is not None else []
    return touches + ([changed[-1]] if rows.stops is not None else [])


def _line_search(
    mechanism: Mechanism,
    state: Motion,
    rows: Constraints,
    joints: Rows,
    found: list[Array],
    target: Rows,
    there: list[Array],
) -> Array:
    """The share of the way to `target` where the cost is least, by bisection of its slope, which only rises."""
    way = [b - a for a, b in zip(joints, target, strict=True)]
    change = [b - a for a, b in zip(found, there, strict=True)]
    moved = accelerations(mechanism, state.axis, way)
    own = [dot(a, apply(i, a)) for i, a in zip(state.inertia, moved, strict=True) if i is not None]
    curvature = add(*own, *(dof.armature * d * d for dof, d in zip(mechanism.dofs, way, strict=True)))
    # `target` is the minimum of the quadratic with the rows of now, which has the same slope here.
    pushed = [
        jnp.sum(jnp.where(e < 0, d * x * x, 0.0), axis=0)
        for d, e, x in zip(rows.stiffness(), found, change, strict=True)
    ]
    zero = jnp.zeros_like(way[0])
    smooth = -add(curvature, *pushed) - rows.slope(found, change, zero)

    def halve(ends: Any) -> Any:
        i, low, high = ends
        middle = 0.5 * (low + high)
        rising = smooth + middle * curvature + rows.slope(found, change, middle) > 0
        return i + 1, jnp.where(rising, low, middle), jnp.where(rising, middle, high)

    begin = (jnp.int32(0), zero, zero + 1.0)
    _, low, high = jax.lax.while_loop(lambda ends: ends[0] < BISECTIONS, halve, begin)
    return 0.5 * (low + high)
