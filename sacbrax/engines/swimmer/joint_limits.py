"""MuJoCo's soft joint limits, and the linear system they turn into a complementarity problem.

A limit that is violated pushes its hinge towards a target acceleration with force weight * (target - acceleration), but
never pulls. Which limits push is part of the answer: exactly one choice is consistent, since the matrix is positive
definite.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sacbrax.engines.rows import Row, Rows
from sacbrax.engines.solver_parameters import MAXIMP, MINIMP, MINVAL
from sacbrax.engines.swimmer.mechanism import Limit


class Push(NamedTuple):
    """What a limit does: adds `weight` to its hinge's inertia and `weight * target` to its force while it pushes."""

    hinge: int
    up: Row  # whether it pushes towards larger angles
    weight: Row  # 1 / regularization [kg m^2], 0 within the range
    target: Row  # reference acceleration, rad/s^2

    def pushes(self, acceleration: Row, scale: Row, xp: Any) -> Row:
        """Whether it pushes at hinge acceleration `acceleration / scale`, scale > 0."""
        target = self.target * scale
        short = xp.where(self.up, acceleration < target, acceleration > target)
        return xp.logical_and(short, self.weight > 0)


def limit_push(limit: Limit, angle: Row, rate: Row, xp: Any) -> Push:
    """The push of `limit` at hinge `angle` [rad] and `rate` [rad/s]."""
    to_low, to_high = angle - limit.low, limit.high - angle
    up, distance = to_low < to_high, xp.minimum(to_low, to_high)
    d = _impedance(limit, distance, xp)
    weight = xp.where(distance < 0, d / ((1 - d) * max(limit.invweight, MINVAL)), 0.0)
    spring = limit.stiffness * d * distance
    return Push(limit.hinge, up, weight, -limit.damping * rate - xp.where(up, spring, -spring))


def _impedance(limit: Limit, distance: Row, xp: Any) -> Row:
    dmin, dmax, width, midpoint, power = limit.impedance
    if dmin == dmax or width <= MINVAL:
        return (dmin + dmax) / 2 + 0 * distance
    x = xp.minimum(xp.abs(distance) * (1 / width), 1.0)
    if power == 1:
        y = x
    elif power == 2:
        y = xp.where(x < midpoint, x * x * (1 / midpoint), 1 - (1 - x) * (1 - x) * (1 / (1 - midpoint)))
    else:
        rising = x**power / midpoint ** (power - 1)
        y = xp.where(x < midpoint, rising, 1 - (1 - x) ** power / (1 - midpoint) ** (power - 1))
    return xp.minimum(xp.maximum(dmin + y * (dmax - dmin), MINIMP), MAXIMP)


def solve_with_limits(H: list[Rows], force: Rows, pushes: list[Push], xp: Any) -> Rows:
    """Hinge accelerations a with H a = force + the pushes at a. The first hinge, the torso's, has no limit."""
    inverse = 1 / H[0][0]
    factor = [h * inverse for h in H[0]]
    hinges = range(1, len(H))
    A = [[H[i][j] - factor[i] * H[0][j] if j <= i else None for j in hinges] for i in hinges]  # lower half
    b = [force[i] - factor[i] * force[0] for i in hinges]
    if [push.hinge for push in pushes] == [1, 2] and len(H) == 3:
        one, two = pushes
        a = _solve_two(A[0][0], A[1][0], A[1][1], b[0], b[1], one, two, xp)
    elif pushes:
        a = _solve_many(A, b, pushes, xp)
    else:
        a = solve(A, b)
    first = force[0] * inverse
    for f, x in zip(factor[1:], a, strict=True):
        first = first - f * x
    return [first, *a]


def _solve_two(a: Row, b: Row, c: Row, f: Row, g: Row, one: Push, two: Push, xp: Any) -> Rows:
    """Two hinges [[a, b], [b, c]] x = (f, g) in closed form.

    Let each limit be tested in the solution without limits. If the other one is violated there, what counts instead is
    whether this one is violated in the solution where only the other pushes. That picks the one consistent choice:
    with none or one violated the other cases contradict positive definiteness, with both it is the definition.
    """
    A, C = a + one.weight, c + two.weight
    F, G = f + one.weight * one.target, g + two.weight * two.target
    bb = b * b
    free, only_one, only_two = a * c - bb, A * c - bb, a * C - bb  # determinants, all positive
    first = one.pushes(f * c - b * g, free, xp)
    second = two.pushes(a * g - b * f, free, xp)
    first, second = (
        xp.where(second, one.pushes(f * C - b * G, only_two, xp), first),
        xp.where(first, two.pushes(A * g - b * F, only_one, xp), second),
    )
    a, f = xp.where(first, A, a), xp.where(first, F, f)
    c, g = xp.where(second, C, c), xp.where(second, G, g)
    scale = 1 / (a * c - bb)
    return [(f * c - b * g) * scale, (a * g - b * f) * scale]


def _solve_many(A: list[Rows], b: Rows, pushes: list[Push], xp: Any) -> Rows:
    """Newton's method on the set of limits that push, until it stops changing.

    All limits that disagree switch at once; should that not settle in 2 n rounds, only the first that disagrees does,
    which ends for any positive definite matrix (Murty, 1974). Rounding can make a limit on the very edge switch for
    ever, without consequence for the answer, so 3 n rounds are the end of it.
    """
    n = len(pushes)

    def solution(active: Rows) -> Rows:
        AL, bL = [row[:] for row in A], b[:]
        for push, on in zip(pushes, active, strict=True):
            i, weight = push.hinge - 1, xp.where(on, push.weight, 0.0)
            AL[i][i], bL[i] = AL[i][i] + weight, bL[i] + weight * push.target
        return solve(AL, bL)

    def improve(state: tuple[Any, Rows, Rows, Rows]) -> tuple[Any, Rows, Rows, Rows]:
        rounds, active, switch, _ = state
        active = [xp.logical_xor(on, flip) for on, flip in zip(active, switch, strict=True)]
        a = solution(active)
        switch, earlier = [], off
        for push, on in zip(pushes, active, strict=True):
            flip = xp.logical_xor(on, push.pushes(a[push.hinge - 1], 1.0, xp))
            switch.append(xp.logical_and(flip, xp.logical_or(rounds < 2 * n, xp.logical_not(earlier))))
            earlier = xp.logical_or(earlier, flip)
        return rounds + 1, active, switch, a

    def unsettled(state: tuple[Any, Rows, Rows, Rows]) -> Any:
        rounds, _, switch, _ = state
        return xp.logical_or(rounds == 0, xp.logical_and(rounds < 3 * n, xp.any(xp.stack(switch))))

    off = pushes[0].weight < 0  # False in the shape of a row
    state = (xp.int32(0), [off] * n, [off] * n, b)
    if xp is jnp:
        state = jax.lax.while_loop(unsettled, improve, state)
    else:
        while unsettled(state):
            state = improve(state)
    return state[3]


def solve(A: list[Rows], b: Rows) -> Rows:
    """Solution of a small positive definite system, given by its lower half, by unrolled elimination."""
    n, A, b = len(b), [row[:] for row in A], b[:]
    inverse: Rows = []
    for k in range(n):
        inverse.append(1 / A[k][k])
        for i in range(k + 1, n):
            factor = A[i][k] * inverse[k]
            for j in range(k + 1, i + 1):
                A[i][j] = A[i][j] - factor * A[j][k]
            b[i] = b[i] - factor * b[k]
    for k in reversed(range(n)):
        rest = b[k]
        for i in range(k + 1, n):
            rest = rest - A[i][k] * b[i]
        b[k] = rest * inverse[k]
    return b
