"""The accelerations that minimize MuJoCo's cost: Newton's method, whose every step is one sweep over a heavier tree.

Between the kinks of the cost it is quadratic, so a step with the right rows pushing ends at the minimum, and it is
there where the same rows push afterwards. Full steps nearly always get there in two or three. What has not after
`FULL` of them goes on with an exact line search, which always does.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from sacbrax.engines.planar.constraints import Constraints
from sacbrax.engines.planar.dynamics import Motion, accelerations, apply, solve
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.planar.rows import Row, Rows, dot

FULL = 8
SEARCHED = 30  # further steps, with line search; float32 may see a row within rounding of its kink flip for ever
BISECTIONS = 24


def minimize(
    mechanism: Mechanism, state: Motion, rows: Constraints, start: Rows
) -> tuple[Rows, list[Row]]:
    """Accelerations [nv] at the minimum, and the residuals of all rows there, from a guess `start` [nv]."""
    n = len(mechanism.dofs)

    def residuals(joints: Rows) -> list[Row]:
        return rows.residuals(joints, accelerations(mechanism, state.axis, joints))

    def newton(pushing: list[Row]) -> tuple[Rows, list[Row]]:
        joints, carried = solve(mechanism, state.axis, *_ordered(rows.loaded(pushing, state.inertia, state.force)))
        return joints, rows.residuals(joints, carried)

    def full(carry: Any) -> Any:
        k, _, joints, pushing, _ = carry
        joints, found = newton(pushing)
        after = [e < 0 for e in found]
        return k + 1, _differ(pushing, after, rows), joints, after, found

    def searched(carry: Any) -> Any:
        k, _, joints, pushing, found = carry
        target, there = newton(pushing)
        after = [e < 0 for e in there]
        differ = _different(pushing, after, rows)
        way = [b - a for a, b in zip(joints, target, strict=True)]
        change = [b - a for a, b in zip(found, there, strict=True)]
        moved = accelerations(mechanism, state.axis, way)
        heavy = [apply(i, a) if i is not None else None for i, a in zip(state.inertia, moved, strict=True)]
        curvature = functools.reduce(
            jnp.add, [dot(a, h) for a, h in zip(moved, heavy, strict=True) if h is not None]
        ) + sum(dof.armature * d * d for dof, d in zip(mechanism.dofs, way, strict=True))
        # The target is the minimum of the quadratic with the rows of now, whose slope is known at both ends.
        at_start = -curvature - sum(
            w * jnp.where(p, d * d, 0.0) for w, p, d in zip(rows.weights(), pushing, change, strict=True)
        )
        zero = jnp.zeros_like(way[0])
        smooth = at_start - rows.energy_slope(found, change, zero)

        def halve(ends: Any) -> Any:
            i, low, high = ends
            middle = 0.5 * (low + high)
            up = smooth + middle * curvature + rows.energy_slope(found, change, middle) > 0
            return i + 1, jnp.where(up, low, middle), jnp.where(up, middle, high)

        begin = (jnp.int32(0), zero, zero + 1.0)
        _, low, high = jax.lax.while_loop(lambda ends: ends[0] < BISECTIONS, halve, begin)
        step = jnp.where(differ, 0.5 * (low + high), 1.0)
        joints = [a + step * d for a, d in zip(joints, way, strict=True)]
        found = [e + step * d for e, d in zip(found, change, strict=True)]
        return k + 1, jnp.any(differ), joints, [e < 0 for e in found], found

    found = residuals(start)
    carry: Any = (jnp.int32(0), jnp.bool_(True), start, [e < 0 for e in found], found)
    if not rows.touches and not rows.stops:
        return newton([])[0], []
    carry = jax.lax.while_loop(lambda c: c[1] & (c[0] < FULL), full, carry)
    carry = jax.lax.while_loop(lambda c: c[1] & (c[0] < FULL + SEARCHED), searched, carry)
    assert len(carry[2]) == n
    return carry[2], carry[4]


def _ordered(loaded: Any) -> Any:
    heavy, forces, push, extra = loaded
    return heavy, forces, push, extra


def _different(before: list[Row], after: list[Row], rows: Constraints) -> Row:
    """Where other rows push than before. A row without stiffness does not count."""
    changed = [(a ^ b) & (w > 0) for a, b, w in zip(before, after, rows.weights(), strict=True)]
    return functools.reduce(jnp.logical_or, changed)


def _differ(before: list[Row], after: list[Row], rows: Constraints) -> Row:
    return jnp.any(_different(before, after, rows))
