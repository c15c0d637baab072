"""Time steps of a planar mechanism: MuJoCo's semi-implicit Euler with implicit damping, and its Runge-Kutta."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sacbrax.engines.planar.constraints import constraints
from sacbrax.engines.planar.dynamics import factored, motion, substituted
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.planar.newton import minimize
from sacbrax.engines.planar.rows import Rows, add, mul
from sacbrax.engines.swimmer.dynamics import sincos

Once = Callable[[Callable], Callable]
OFFSET = (1 / 2, 1 / 2, 1.0, 0.0)  # of the next stage from the start, in time steps
WEIGHT = (1 / 6, 1 / 3, 1 / 3, 1 / 6)  # of this stage in the sum


def joint_forces(mechanism: Mechanism, ctrl: Rows) -> Rows:
    """Forces of the motors [nv]; controls are clipped to the model's range."""
    forces: Rows = [0.0] * len(mechanism.dofs)
    for motor, u in zip(mechanism.motors, ctrl, strict=True):
        pushed = motor.gear * jnp.minimum(jnp.maximum(u, motor.low), motor.high)
        forces[motor.dof] = add(forces[motor.dof], pushed)
    return forces


def acceleration(
    mechanism: Mechanism, q: Rows, v: Rows, forces: Rows, guess: Rows, timestep: float
) -> tuple[Rows, Rows]:
    """MuJoCo's qacc [nv], and what moves the velocities in a time step: with `timestep` > 0 the damping is implicit."""
    state = motion(mechanism, q, v, forces, sincos)
    rows = constraints(mechanism, state, q, v)
    joints, residuals = minimize(mechanism, state, rows, guess)
    if not timestep or not any(dof.damping for dof in mechanism.dofs):
        return joints, joints
    at_joints, push = rows.forces(residuals, len(q))
    total = [add(a, b) for a, b in zip(state.force, at_joints, strict=True)]
    extra = [timestep * dof.damping for dof in mechanism.dofs]
    damped = factored(mechanism, state.axis, state.inertia, extra)
    return joints, substituted(mechanism, state.axis, damped, total, push)[0]


def euler(mechanism: Mechanism, steps: int, q: Rows, v: Rows, forces: Rows, once: Once) -> tuple[Rows, Rows]:
    """`steps` of MuJoCo's semi-implicit Euler steps."""
    h = mechanism.timestep
    fixed = {i: f for i, f in enumerate(forces) if not isinstance(f, float)}

    @once
    def step(q: Rows, v: Rows, guess: Rows, driven: Rows) -> tuple[Rows, Rows, Rows]:
        own = _filled(forces, dict(zip(fixed, driven, strict=True)))
        guess, a = acceleration(mechanism, q, v, own, guess, h)
        v = [x + h * y for x, y in zip(v, a, strict=True)]
        return [x + h * y for x, y in zip(q, v, strict=True)], v, guess

    start = (q, v, [jnp.zeros_like(x) for x in v])
    q, v, _ = jax.lax.fori_loop(0, steps, lambda _, state: step(*state, list(fixed.values())), start)
    return q, v


def rk4(mechanism: Mechanism, steps: int, q: Rows, v: Rows, forces: Rows, once: Once) -> tuple[Rows, Rows]:
    """Classical Runge-Kutta steps, all stages as one loop: a quarter of the code to compile."""
    offsets, weights = (mechanism.timestep * jnp.asarray(c, q[0].dtype) for c in (OFFSET, WEIGHT))
    n = len(q)
    fixed = {i: f for i, f in enumerate(forces) if not isinstance(f, float)}

    @once
    def stage(
        offset: Any, weight: Any, last: Any, driven: Rows, start: Rows, total: Rows, now: Rows, guess: Rows
    ) -> Any:
        own = _filled(forces, dict(zip(fixed, driven, strict=True)))
        guess, a = acceleration(mechanism, now[:n], now[n:], own, guess, 0.0)
        rate = [*now[n:], *a]
        total = [x + weight * y for x, y in zip(total, rate, strict=True)]
        now = [jnp.where(last, z, x + offset * y) for x, y, z in zip(start, rate, total, strict=True)]
        start = [jnp.where(last, z, x) for x, z in zip(start, total, strict=True)]
        return start, total, now, guess

    def body(i: Any, state: Any) -> Any:
        k = i % 4
        return stage(offsets[k], weights[k], k == 3, list(fixed.values()), *state)

    begin = [*q, *v]
    start = jax.lax.fori_loop(0, 4 * steps, body, (begin, begin, begin, [jnp.zeros_like(x) for x in v]))[0]
    return start[:n], start[n:]


def _filled(forces: Rows, driven: dict[int, Any]) -> Rows:
    return [driven.get(i, f) for i, f in enumerate(forces)]


__all__ = ["acceleration", "euler", "joint_forces", "mul", "rk4"]
