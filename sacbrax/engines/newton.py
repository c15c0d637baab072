"""The accelerations that minimize MuJoCo's cost: Newton's method, whose every step is one sweep over a heavier tree.

Between the kinks of the cost it is quadratic, so a step with the right rows pushing ends at the minimum, and it is
there where the same rows push afterwards. Full steps nearly always get there in two or three. Where `FULL` of them have
not, an exact line search goes on, which always does.

Knows no tree: an engine's `Problem` solves with its Hessian.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from sacbrax.core.types import Array
from sacbrax.engines.rows import add

FULL = 8
LONGEST = 40  # steps in all; in float32 a row within rounding of its kink may flip for ever
BISECTIONS = 24
Joints = Any  # accelerations of a tree: a pytree of arrays [..., N]
Family = Any  # one number for each row of constraints, a pytree of arrays [..., rows, N]


class Problem(Protocol):
    """1/2 (a - a0)' M (a - a0) + sum of D/2 min(0, e)^2 over the rows of constraints, e = J a - aref."""

    def stiffness(self) -> Family:
        """D of all rows."""
        ...

    def residuals(self, joints: Joints) -> Family:
        """e at accelerations a."""
        ...

    def solved(self, pushing: Family) -> tuple[Joints, Family]:
        """The minimum of the cost in which these rows count alone, at either sign of e, and e of all rows there."""
        ...

    def curvature(self, way: Joints) -> Array:
        """d' M d of a direction d, [N]."""
        ...

    def changed(self, pushing: Family, there: Family) -> list[Array]:
        """Where other rows push at residuals `there` than did, arrays [..., N]; rows without stiffness do not count."""
        ...


def minimize(problem: Problem, start: Joints, found: Family = None) -> tuple[Joints, Family]:
    """Accelerations at the minimum, and the residuals of all rows there, from a guess `start`. Where `found` is given,
    it tells by its signs the rows that may push, and the guess is of no account."""
    if not jax.tree.leaves(problem.stiffness()):
        return problem.solved(problem.stiffness())

    def step(carry: Any) -> Any:
        k, _, joints, found = carry
        pushing = joined(lambda e: e < 0, found)
        target, there = problem.solved(pushing)
        changed = problem.changed(pushing, there)

        def search(now: Any) -> Any:
            _, target, there = now
            size = _line_search(problem, joints, found, target, there)
            size = jnp.where(functools.reduce(jnp.logical_or, [_anywhere(x) for x in changed]), size, 1.0)
            between = functools.partial(_between, size)
            return False, jax.tree.map(between, joints, target), joined(between, found, there)

        # A loop of one round or none, which costs nothing where full steps do.
        _, joints, found = jax.lax.while_loop(lambda now: now[0], search, (k >= FULL, target, there))
        return k + 1, functools.reduce(jnp.logical_or, [x.any() for x in changed]), joints, found

    begin = (jnp.int32(0), True, start, problem.residuals(start) if found is None else found)
    _, _, joints, found = jax.lax.while_loop(lambda carry: carry[1] & (carry[0] < LONGEST), step, begin)
    return joints, found


def joined(f: Callable, *families: Family) -> Family:
    """`f` of the arrays of every family of rows."""
    return jax.tree.map(f, *families)


def total(family: Family) -> Array:
    """The sum over all rows, [N]."""
    return add(*(jnp.sum(x, axis=tuple(range(x.ndim - 1))) for x in jax.tree.leaves(family)))


def _anywhere(x: Array) -> Array:
    return x.any(axis=tuple(range(x.ndim - 1)))


def _like(row: Array, x: Array) -> Array:
    """A row [N] with as many axes as x."""
    return jnp.expand_dims(row, tuple(range(x.ndim - 1)))


def _between(share: Array, start: Array, end: Array) -> Array:
    """`end` itself where the share is 1."""
    share = _like(share, start)
    return jnp.where(share == 1, end, start + share * (end - start))


def _slope(problem: Problem, residuals: Family, change: Family, step: Array) -> Array:
    """d/ds of the rows' cost at residuals + s change, s = step [N]."""

    def own(d: Array, e: Array, x: Array) -> Array:
        return d * x * jnp.minimum(e + _like(step, e) * x, 0.0)

    return total(joined(own, problem.stiffness(), residuals, change))


def _line_search(problem: Problem, joints: Joints, found: Family, target: Joints, there: Family) -> Array:
    """The share of the way to `target` where the cost is least, by bisection of its slope, which only rises."""
    way = jax.tree.map(lambda a, b: b - a, joints, target)
    change = joined(lambda a, b: b - a, found, there)
    curvature = problem.curvature(way)
    # `target` is the minimum of the quadratic with the rows of now, which has the same slope here.
    pushed = joined(lambda d, e, x: jnp.where(e < 0, d * x * x, 0.0), problem.stiffness(), found, change)
    zero = jnp.zeros_like(curvature)
    smooth = -add(curvature, total(pushed)) - _slope(problem, found, change, zero)

    def halve(ends: Any) -> Any:
        i, low, high = ends
        middle = 0.5 * (low + high)
        rising = smooth + middle * curvature + _slope(problem, found, change, middle) > 0
        return i + 1, jnp.where(rising, low, middle), jnp.where(rising, middle, high)

    begin = (jnp.int32(0), zero, zero + 1.0)
    _, low, high = jax.lax.while_loop(lambda ends: ends[0] < BISECTIONS, halve, begin)
    return 0.5 * (low + high)
