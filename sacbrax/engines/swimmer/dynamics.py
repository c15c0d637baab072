"""Forward dynamics of a planar chain as plain arithmetic on rows: no matrices, gathers or solver calls.

A row is one number of the mechanism, for one environment or as an array over many. `xp` is `jax.numpy`, or `numpy`
where a test or the self-check wants float64. The derivation is in docs/physics.md.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from sacbrax.engines.rows import Row, Rows
from sacbrax.engines.swimmer.joint_limits import limit_push, solve_with_limits
from sacbrax.engines.swimmer.mechanism import Chain

SIN = (1.0, -0.16666658, 0.00833303947, -0.000198082329, 2.60329352e-06)
COS = (1.0, -0.5, 0.0416666344, -0.00138883409, 2.47590888e-05, -2.60323361e-07)


def accelerations(chain: Chain, q: Rows, v: Rows, torque: Rows, xp: Any = jnp) -> Rows:
    """MuJoCo's qacc [nv] at positions q [nq], velocities v [nv] and motor torques [nu]."""
    H, force, base = reduced_system(chain, q, v, torque, xp)
    pushes = [limit_push(limit, q[2 + limit.hinge], v[2 + limit.hinge], xp) for limit in chain.limits]
    hinge = solve_with_limits(H, force, pushes, xp)
    return [*base(hinge), *hinge]


def motor_torques(chain: Chain, ctrl: Rows, xp: Any = jnp) -> Rows:
    """Torque [N m] of each motor; controls are clipped to the model's range."""
    return [gear * xp.minimum(xp.maximum(u, lo), hi) for (_, gear, lo, hi), u in zip(chain.motors, ctrl, strict=True)]


def reduced_system(
    chain: Chain, q: Rows, v: Rows, torque: Rows, xp: Any = jnp
) -> tuple[list[Rows], Rows, Callable[[Rows], tuple[Row, Row]]]:
    """Mass matrix and force of the hinges with x and y eliminated, and the function that gives x's and y's back.

    With P_j (cos, sin) the part of the chain's first moment that turns with link j, the base obeys
    m a = force + sum_j P_j (acceleration_j (sin, -cos) + velocity_j^2 (cos, sin)). Substituting it leaves inertias
    G_jk cos(angle_j - angle_k) and centrifugal torques -G_jk sin(angle_j - angle_k) velocity_k^2.
    """
    n = chain.links
    total, P, G = reduced_inertias(chain)
    omega = _running_sum(v[2:])
    sin, cos = zip(*(sincos(angle, xp) for angle in _running_sum(q[2:])), strict=True)
    base_x, base_y, turn = _drag(chain, v, omega, sin, cos, [p / total for p in P], xp)

    # Inertia and centrifugal torque between every two links.
    spin = [w * w for w in omega]
    M: list[Rows] = [[G[j][k] for k in range(n)] for j in range(n)]
    for j in range(n):
        for k in range(j):
            M[j][k] = M[k][j] = G[j][k] * (cos[j] * cos[k] + sin[j] * sin[k])
            twist = G[j][k] * (sin[j] * cos[k] - cos[j] * sin[k])
            turn[j] = turn[j] - twist * spin[k]
            turn[k] = turn[k] + twist * spin[j]

    # From the links' absolute angles to the hinges: everything behind a hinge turns with it.
    force = _sum_from(turn)
    H = _transpose([_sum_from(row) for row in _transpose([_sum_from(row) for row in M])])
    for j in range(n):
        H[j][j] = H[j][j] + chain.armature[j]
        if chain.damping[j]:
            force[j] = force[j] - chain.damping[j] * v[2 + j]
    for (hinge, *_), push in zip(chain.motors, torque, strict=True):
        force[hinge] = force[hinge] + push

    def base(hinge: Rows) -> tuple[Row, Row]:
        x, y = base_x, base_y
        for b, alpha in enumerate(_running_sum(hinge)):
            x = x + P[b] * (sin[b] * alpha + cos[b] * spin[b])
            y = y + P[b] * (sin[b] * spin[b] - cos[b] * alpha)
        return x * (1 / total), y * (1 / total)

    return H, force, base


def reduced_inertias(chain: Chain) -> tuple[float, list[float], list[list[float]]]:
    """Mass at the base [kg], first moments P_j [kg m] and reduced inertias G_jk [kg m^2] (see `reduced_system`)."""
    n, mass = chain.links, chain.mass
    behind = [sum(mass[b + 1 :]) for b in range(n)]
    total = sum(mass) + chain.slide_armature
    P = [mass[b] * chain.centre[b] + behind[b] * chain.length[b] for b in range(n)]
    G = [[P[max(j, k)] * chain.length[min(j, k)] - P[j] * P[k] / total for k in range(n)] for j in range(n)]
    for b in range(n):
        own = chain.inertia[b] + mass[b] * chain.centre[b] ** 2 + behind[b] * chain.length[b] ** 2
        G[b][b] = own - P[b] ** 2 / total
    return total, P, G


def _drag(
    chain: Chain, v: Rows, omega: Rows, sin: Sequence[Row], cos: Sequence[Row], share: list[float], xp: Any
) -> tuple[Row, Row, Rows]:
    """Fluid force on the base, and torque on each link's absolute angle after the base has taken its share."""
    n, length, centre = chain.links, chain.length, chain.centre
    vx, vy = v[0], v[1]  # of the link's hinge
    force_x, force_y, turn = [], [], []
    for b in range(n):
        along = cos[b] * vx + sin[b] * vy
        across = cos[b] * vy - sin[b] * vx + centre[b] * omega[b]
        along, across = _resist(chain.drag_along[b], along, xp), _resist(chain.drag_across[b], across, xp)
        force_x.append(cos[b] * along - sin[b] * across)
        force_y.append(sin[b] * along + cos[b] * across)
        turn.append(_resist(chain.drag_turn[b], omega[b], xp) + centre[b] * across)
        if b < n - 1:
            step = length[b] * omega[b]
            vx, vy = vx - step * sin[b], vy + step * cos[b]
    from_x, from_y = _sum_from(force_x), _sum_from(force_y)
    base_x, base_y = from_x[0], from_y[0]
    if chain.slide_damping:
        base_x, base_y = base_x - chain.slide_damping * v[0], base_y - chain.slide_damping * v[1]
    for b in range(n):
        x, y = -share[b] * base_x, -share[b] * base_y
        if b < n - 1:
            x, y = x + length[b] * from_x[b + 1], y + length[b] * from_y[b + 1]
        turn[b] = turn[b] + cos[b] * y - sin[b] * x
    return base_x, base_y, turn


def _resist(coefficients: tuple[float, float], speed: Row, xp: Any) -> Row:
    linear, quadratic = coefficients
    return -speed * (linear + quadratic * xp.abs(speed))


def _running_sum(rows: Sequence[Row]) -> Rows:
    sums = [rows[0]]
    for row in rows[1:]:
        sums.append(sums[-1] + row)
    return sums


def _sum_from(rows: Sequence[Row]) -> Rows:
    """Sum of each row and all after it."""
    return _running_sum(rows[::-1])[::-1]


def _transpose(rows: list[Rows]) -> list[Rows]:
    return [list(column) for column in zip(*rows, strict=True)]


def sincos(x: Row, xp: Any = jnp) -> tuple[Row, Row]:
    """Sine and cosine; in float32 by polynomials (XLA's own cost three times as much), within 1e-7 up to 1e4 rad.

    x = k pi + r with |r| <= pi/2; k pi is taken off in three parts, the first two exact in float32. The polynomials are
    least-squares fits of sin(r) / r and cos(r) in r^2 on Chebyshev nodes.
    """
    if x.dtype != jnp.float32 or xp is not jnp:
        return xp.sin(x), xp.cos(x)
    k = xp.floor(x * (1 / math.pi) + 0.5)
    r = x - k * 3.140625 - k * 9.67502593994140625e-4 - k * 1.509957990978376e-7
    z = r * r
    sign = 1 - 2 * (k - 2 * xp.floor(k * 0.5))
    return sign * r * _polynomial(SIN, z), sign * _polynomial(COS, z)


def _polynomial(coefficients: Sequence[float], z: Row) -> Row:
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = value * z + coefficient
    return value
