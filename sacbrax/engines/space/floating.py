"""The orientation of a floating body between the stages of a time step.

It is a quaternion at the step's start and a rotation vector u from there, in the body's own axes: so a step adds up
vectors. Turning at w in those axes, u changes by w + u x w / 2 + g(|u|) u x (u x w), the inverse of the derivative of
the exponential map (Munthe-Kaas 1999). MuJoCo's Runge-Kutta method has this since 4.0.
"""

from typing import Any

import jax.numpy as jnp

from sacbrax.engines.rows import dot, mul, plus, scale, sub
from sacbrax.engines.space.vectors import Vector, cross
from sacbrax.engines.swimmer.dynamics import sincos

# (1 - x/2 cot(x/2)) / x^2 in powers of x^2.
SERIES = (1 / 12, 1 / 720, 1 / 30240, 1 / 1209600, 1 / 47900160, 691 / 1307674368000, 1 / 74724249600)
SMALL = 0.25  # squared angle: below, the closed form cancels
TINY = 1e-30


def product(a: Any, b: Any) -> tuple[Any, ...]:
    """Of two quaternions."""
    (w, *u), (x, *v) = a, b
    return (sub(mul(w, x), dot(u, v)), *plus(plus(scale(w, v), scale(x, u)), cross(tuple(u), tuple(v))))


def unit(quaternion: Any) -> tuple[Any, ...]:
    """At length 1."""
    w, x, y, z = quaternion
    return scale((w * w + x * x + y * y + z * z) ** -0.5, quaternion)


def exponential(u: Vector) -> tuple[Any, ...]:
    """The quaternion of a rotation vector."""
    angle = jnp.sqrt(jnp.maximum(_square(u), TINY))
    sin, cos = sincos(0.5 * angle)
    return (cos, *scale(sin / angle, u))


def rate(u: Vector, w: Vector) -> Vector:
    """How fast the rotation vector changes at an angular velocity w in the body's own axes."""
    square = _square(u)
    series = SERIES[-1] * square
    for coefficient in SERIES[-2:0:-1]:
        series = (series + coefficient) * square
    series = series + SERIES[0]
    large = jnp.maximum(square, SMALL)
    half = 0.5 * jnp.sqrt(large)
    sin, cos = sincos(half)
    curve = jnp.where(square < SMALL, series, (1 - half * cos / sin) / large)
    first = cross(u, w)
    return plus(plus(w, scale(0.5, first)), scale(curve, cross(u, first)))


def _square(u: Vector) -> Any:
    return u[0] * u[0] + u[1] * u[1] + u[2] * u[2]
