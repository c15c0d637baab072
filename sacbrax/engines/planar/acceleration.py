"""The accelerations of a planar mechanism: its motion, its constraints, and the minimum that both decide."""

import jax.numpy as jnp

from sacbrax.engines.newton import minimize
from sacbrax.engines.planar.constraints import constraints
from sacbrax.engines.planar.dynamics import factored, motion, substituted
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.planar.problem import PlanarProblem
from sacbrax.engines.rows import Rows, add
from sacbrax.engines.swimmer.dynamics import sincos


def motor_forces(mechanism: Mechanism, ctrl: Rows) -> Rows:
    """Force of each motor [nu]; controls are clipped to the model's range."""
    motors = zip(mechanism.motors, ctrl, strict=True)
    return [motor.gear * jnp.minimum(jnp.maximum(u, motor.low), motor.high) for motor, u in motors]


def acceleration(
    mechanism: Mechanism, q: Rows, v: Rows, forces: Rows, guess: Rows, timestep: float
) -> tuple[Rows, Rows]:
    """What moves the velocities in a time step [nv] under the motors' forces [nu], and MuJoCo's qacc [nv], which is the
    next one's guess. With `timestep` > 0 the damping is implicit, as in Euler's steps; else they are the same."""
    at_motors: Rows = [0.0] * len(mechanism.dofs)
    for motor, force in zip(mechanism.motors, forces, strict=True):
        at_motors[motor.dof] = add(at_motors[motor.dof], force)
    state = motion(mechanism, q, v, at_motors, sincos)
    rows = constraints(mechanism, state, q, v)
    joints, residuals = minimize(PlanarProblem(mechanism, state, rows), guess)
    if not timestep or not any(dof.damping for dof in mechanism.dofs):
        return joints, joints
    at_joints, push = rows.forces(residuals, len(q))
    total = [add(a, b) for a, b in zip(state.force, at_joints, strict=True)]
    extra = [timestep * dof.damping for dof in mechanism.dofs]
    damped = factored(mechanism, state.axis, state.inertia, extra)
    return substituted(mechanism, state.axis, damped, total, push)[0], joints
