"""The fused engine: a planar swimmer's dynamics as plain arithmetic, without matrices, gathers or solver loops.

Every quantity is a scalar of one environment; `vmap` turns each into a row over the batch and XLA fuses the lot. The
derivation is in docs/physics.md. `xp` is `jax.numpy`, or `numpy` where a test or the self-check wants float64.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from sacbrax.envs.chain import MAXIMP, MINIMP, MINVAL, Chain, Limit, read_chain, refuse
from sacbrax.types import Array

Row = Any  # a scalar under trace, or any array: the operations are elementwise
Rows = list[Row]
RK4_STAGES = ((0.5, 1 / 6), (0.5, 1 / 3), (1.0, 1 / 3), (0.0, 1 / 6))  # next stage's offset, weight in the sum


class Fused:
    """Steps a planar swimmer `model` by `frame_skip` time steps of its own integrator."""

    name = "fused"

    def __init__(self, model: mujoco.MjModel, frame_skip: int) -> None:
        self.frame_skip = frame_skip
        self.chain = read_chain(model)
        _compare_with_mujoco(model, self.chain)

    def step(self, qpos: Array, qvel: Array, ctrl: Array) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps."""
        chain, h = self.chain, self.chain.timestep
        torque = motor_torques(chain, list(ctrl))
        integrate = _rk4 if chain.integrator == "RK4" else _euler
        q, v = jax.lax.fori_loop(
            0, self.frame_skip, lambda _, qv: integrate(chain, h, *qv, torque), (list(qpos), list(qvel))
        )
        return jnp.stack(q), jnp.stack(v)


def _euler(chain: Chain, h: float, q: Rows, v: Rows, torque: Rows) -> tuple[Rows, Rows]:
    """MuJoCo's semi-implicit Euler step."""
    a = acceleration(chain, q, v, torque)
    v = [v + h * a for v, a in zip(v, a, strict=True)]
    return [q + h * v for q, v in zip(q, v, strict=True)], v


def _rk4(chain: Chain, h: float, q: Rows, v: Rows, torque: Rows) -> tuple[Rows, Rows]:
    q0, v0, q1, v1 = q, v, q, v
    for offset, weight in RK4_STAGES:
        a = acceleration(chain, q, v, torque)
        q1 = [x + weight * h * y for x, y in zip(q1, v, strict=True)]
        v1 = [x + weight * h * y for x, y in zip(v1, a, strict=True)]
        q = [x + offset * h * y for x, y in zip(q0, v, strict=True)]
        v = [x + offset * h * y for x, y in zip(v0, a, strict=True)]
    return q1, v1


def motor_torques(chain: Chain, ctrl: Rows, xp: Any = jnp) -> Rows:
    """Torque [N m] on each hinge, torso first; controls are clipped to the model's range."""
    torque: Rows = [0.0] * chain.links
    for (hinge, gear, low, high), u in zip(chain.motors, ctrl, strict=True):
        torque[hinge] = torque[hinge] + gear * xp.clip(u, low, high)
    return torque


def acceleration(chain: Chain, q: Rows, v: Rows, torque: Rows, xp: Any = jnp) -> Rows:
    """MuJoCo's qacc [nv] at positions q, velocities v and hinge torques."""
    H, F, base = reduced_system(chain, q, v, torque, xp)
    hinge = solve_with_limits(H, F, [_limit_row(limit, q, v, xp) for limit in chain.limits], xp)
    return [*base(hinge), *hinge]


def reduced_system(chain: Chain, q: Rows, v: Rows, torque: Rows, xp: Any = jnp) -> tuple[list[Rows], Rows, Any]:
    """Mass matrix and force of the hinges with x and y eliminated, and the function that gives x's and y's back.

    With p_j = P_j (cos, sin) of link j, the part of the chain's first moment that turns with angle j, the base obeys
    m a = force + sum_j P_j (acceleration_j (sin, -cos) + velocity_j^2 (cos, sin)). Substituting it leaves inertias
    G_jk cos(angle_j - angle_k) and centrifugal torques -G_jk sin(angle_j - angle_k) velocity_k^2.
    """
    n, length, centre = chain.links, chain.length, chain.centre
    angle, omega = _running_sum(q[2:]), _running_sum(v[2:])
    cos, sin = [xp.cos(a) for a in angle], [xp.sin(a) for a in angle]
    total, P, G = _inertias(chain)

    # Drag on each link, from its centre's velocity in its own frame; then back to the plane.
    vx, vy = v[0], v[1]
    drag_x, drag_y, turn = [], [], []
    for b in range(n):
        along = cos[b] * vx + sin[b] * vy
        across = cos[b] * vy - sin[b] * vx + centre[b] * omega[b]
        force_along, force_across = _drag(chain.drag_along[b], along, xp), _drag(chain.drag_across[b], across, xp)
        drag_x.append(cos[b] * force_along - sin[b] * force_across)
        drag_y.append(sin[b] * force_along + cos[b] * force_across)
        turn.append(_drag(chain.drag_turn[b], omega[b], xp) + centre[b] * force_across)
        vx, vy = vx - length[b] * omega[b] * sin[b], vy + length[b] * omega[b] * cos[b]
    behind_x, behind_y = _sum_behind(drag_x), _sum_behind(drag_y)  # of the links after b
    base_x, base_y = drag_x[0] + behind_x[0], drag_y[0] + behind_y[0]
    if chain.slide_damping:
        base_x, base_y = base_x - chain.slide_damping * v[0], base_y - chain.slide_damping * v[1]
    for b in range(n):
        fx, fy = length[b] * behind_x[b] - P[b] / total * base_x, length[b] * behind_y[b] - P[b] / total * base_y
        turn[b] = turn[b] + cos[b] * fy - sin[b] * fx

    # Inertia and centrifugal torque between every two angles.
    spin = [w * w for w in omega]
    M: list[Rows] = [[0.0] * n for _ in range(n)]
    for j in range(n):
        M[j][j] = G[j][j]
        for k in range(j):
            M[j][k] = M[k][j] = G[j][k] * (cos[j] * cos[k] + sin[j] * sin[k])
            twist = G[j][k] * (sin[j] * cos[k] - cos[j] * sin[k])
            turn[j] = turn[j] - twist * spin[k]
            turn[k] = turn[k] + twist * spin[j]

    # From the links' absolute angles to the hinges: everything behind a hinge turns with it.
    for j in reversed(range(n - 1)):
        turn[j] = turn[j] + turn[j + 1]
        M[j] = [x + y for x, y in zip(M[j], M[j + 1], strict=True)]
    for k in reversed(range(n - 1)):
        for j in range(n):
            M[j][k] = M[j][k] + M[j][k + 1]
    for j in range(n):
        M[j][j] = M[j][j] + chain.armature[j]
        turn[j] = turn[j] + torque[j] - chain.damping[j] * v[2 + j]

    def base(hinge: Rows) -> tuple[Row, Row]:
        alpha = _running_sum(hinge)
        x = base_x + sum(P[b] * (sin[b] * alpha[b] + cos[b] * spin[b]) for b in range(n))
        y = base_y + sum(P[b] * (sin[b] * spin[b] - cos[b] * alpha[b]) for b in range(n))
        return x / total, y / total

    return M, turn, base


def _inertias(chain: Chain) -> tuple[float, list[float], list[list[float]]]:
    """Mass at the base, first moments P_j and reduced inertias G_jk (see `reduced_system`)."""
    n, mass = chain.links, chain.mass
    behind = [sum(mass[b + 1 :]) for b in range(n)]
    total = sum(mass) + chain.slide_armature
    P = [mass[b] * chain.centre[b] + behind[b] * chain.length[b] for b in range(n)]
    G = [[P[max(j, k)] * chain.length[min(j, k)] - P[j] * P[k] / total for k in range(n)] for j in range(n)]
    for b in range(n):
        own = chain.inertia[b] + mass[b] * chain.centre[b] ** 2 + behind[b] * chain.length[b] ** 2
        G[b][b] = own - P[b] ** 2 / total
    return total, P, G


def _drag(coefficients: tuple[float, float], speed: Row, xp: Any) -> Row:
    linear, quadratic = coefficients
    return -speed * (linear + quadratic * xp.abs(speed))


def _running_sum(rows: Sequence[Row]) -> Rows:
    sums = [rows[0]]
    for row in rows[1:]:
        sums.append(sums[-1] + row)
    return sums


def _sum_behind(rows: Sequence[Row]) -> Rows:
    """Sum of the rows after each one."""
    sums: Rows = [0.0]
    for row in reversed(rows[1:]):
        sums.append(sums[-1] + row)
    return sums[::-1]


def _limit_row(limit: Limit, q: Rows, v: Rows, xp: Any) -> tuple[int, Row, Row, Row]:
    """(hinge, sign, weight, target): the limit pushes with weight * (target - sign * a) where that is positive."""
    angle, rate = q[2 + limit.hinge], v[2 + limit.hinge]
    to_low, to_high = angle - limit.low, limit.high - angle
    sign, distance = xp.where(to_low < to_high, 1.0, -1.0), xp.minimum(to_low, to_high)
    d = _impedance(limit, distance, xp)
    weight = xp.where(distance < 0, 1 / xp.maximum(MINVAL, (1 - d) / d * limit.invweight), 0.0)
    return limit.hinge, sign, weight, -limit.damping * sign * rate - limit.stiffness * d * distance


def _impedance(limit: Limit, distance: Row, xp: Any) -> Row:
    dmin, dmax, width, midpoint, power = limit.impedance
    if dmin == dmax or width <= MINVAL:
        return (dmin + dmax) / 2 + 0 * distance
    x = xp.minimum(xp.abs(distance) / width, 1.0)
    if power == 1:
        y = x
    else:
        rising = x**power / midpoint ** (power - 1)
        y = xp.where(x < midpoint, rising, 1 - (1 - x) ** power / (1 - midpoint) ** (power - 1))
    return xp.clip(dmin + y * (dmax - dmin), MINIMP, MAXIMP)


def solve_with_limits(H: list[Rows], F: Rows, limits: list[tuple[int, Row, Row, Row]], xp: Any) -> Rows:
    """Hinge accelerations: Newton steps on the set of limits that push."""
    a = _solve(H, F)
    for _ in range(len(limits) + 1):
        HL, FL = [row[:] for row in H], F[:]
        for hinge, sign, weight, target in limits:
            push = xp.where(sign * a[hinge] < target, weight, 0.0)
            HL[hinge][hinge], FL[hinge] = HL[hinge][hinge] + push, FL[hinge] + push * sign * target
        a = _solve(HL, FL)
    return a


def _solve(M: list[Rows], F: Rows) -> Rows:
    """Solution of a small symmetric positive definite system by unrolled elimination."""
    n, M, F = len(F), [row[:] for row in M], F[:]
    inverse: Rows = [0.0] * n
    for k in range(n):
        inverse[k] = 1 / M[k][k]
        for i in range(k + 1, n):
            factor = M[i][k] * inverse[k]
            for j in range(k + 1, i + 1):
                M[i][j] = M[i][j] - factor * M[j][k]
            F[i] = F[i] - factor * F[k]
    for k in reversed(range(n)):
        rest = F[k]
        for i in range(k + 1, n):
            rest = rest - M[i][k] * F[i]
        F[k] = rest * inverse[k]
    return F


def _compare_with_mujoco(model: mujoco.MjModel, chain: Chain) -> None:
    """Refuse a model whose accelerations in random states differ from MuJoCo's: it has a feature nobody listed."""
    model, rng = copy.copy(model), np.random.default_rng(0)
    model.opt.tolerance, model.opt.iterations = 0, 100
    data = mujoco.MjData(model)
    reach = max([math.pi, *(limit.high + 0.1 for limit in chain.limits)])
    for _ in range(4):
        data.qpos[:], data.qvel[:] = rng.uniform(-reach, reach, model.nq), rng.normal(size=model.nv)
        data.ctrl[:] = rng.uniform(-2, 2, model.nu) * [min(abs(motor[3]), 1e3) for motor in chain.motors]
        mujoco.mj_forward(model, data)
        torque = motor_torques(chain, list(data.ctrl), np)
        ours = np.array(acceleration(chain, list(data.qpos), list(data.qvel), torque, np))
        if not np.abs(ours - data.qacc).max() <= 1e-6 * np.abs(data.qacc).max():
            refuse("some feature of this model (its accelerations differ from MuJoCo's)")
