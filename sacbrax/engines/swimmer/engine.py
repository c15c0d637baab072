"""The fused engine: a planar swimmer stepped by plain arithmetic, the same physics as MuJoCo's and MJX's.

Inside, the state is a list of rows, each one number of the mechanism over a block of environments. docs/physics.md says
how it is derived, tested and made fast.
"""

import copy
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines import batched
from sacbrax.engines.engine import refuse
from sacbrax.engines.integrators import INTEGRATORS, RK4_OFFSET, RK4_WEIGHT
from sacbrax.engines.swimmer.dynamics import Rows, accelerations, motor_torques
from sacbrax.engines.swimmer.mechanism import Chain, read_chain, scaled

UNROLLED = 1  # time steps without a loop around them, on a GPU; 4 save twelve kernels and compile for longer


class FusedSwimmer:
    """Steps a planar swimmer `model` by `frame_skip` time steps of its own integrator."""

    name = "fused"
    memory = 0

    def __init__(self, model: mujoco.MjModel, frame_skip: int) -> None:
        self.frame_skip = frame_skip
        self.chain = read_chain(model)
        self._nominal = {
            "opt.density": np.asarray(model.opt.density),
            "opt.viscosity": np.asarray(model.opt.viscosity),
            "actuator_gear": model.actuator_gear.copy(),
        }
        _compare_with_mujoco(model, self.chain)

    def step(
        self, qpos: Array, qvel: Array, ctrl: Array, fields: Mapping[str, Array] = MappingProxyType({})
    ) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps."""
        qpos, qvel = batched.step(self, qpos, qvel, ctrl, *([self._factors(fields, qpos)] if fields else []))
        return qpos, qvel

    def _factors(self, fields: Mapping[str, Array], like: Array) -> Array:
        """What `fields` multiply: density, viscosity and each motor's gear, [2 + nu] relative to the model's own."""
        for name, value in fields.items():
            own = self._nominal.get(name)
            if own is None:
                raise ValueError(f"env.randomize: the fused engine varies {', '.join(self._nominal)}, not {name}")
            if own.shape != value.shape:
                raise ValueError(f"env.randomize: {name} has shape {own.shape}, not {value.shape}")
            if not np.all(_number(own)):
                raise ValueError(
                    f"env.randomize: the fused engine varies {name} in proportion to the model's own, which is 0; use "
                    "env.engine=mjx"
                )

        def factor(name: str) -> Array:
            own = jnp.asarray(_number(self._nominal[name]), like.dtype)
            return _number(fields[name]).astype(like.dtype) / own if name in fields else jnp.ones_like(own)

        return jnp.concatenate([jnp.atleast_1d(factor(name)) for name in self._nominal])

    def integrate(self, once: batched.Once, qpos: Array, qvel: Array, *inputs: Array) -> tuple[Array, Array]:
        """`frame_skip` time steps of [N, ...] arrays; `inputs` are controls [N, nu], and factors [N, 2 + nu] if any."""
        ctrl, *factors = inputs
        q, v = list(qpos.T), list(qvel.T)
        chain = scaled(self.chain, *factors[0].T) if factors else self.chain
        torque = motor_torques(chain, list(ctrl.T))

        def acceleration(q: Rows, v: Rows, torque: Rows, memory: Rows) -> tuple[Rows, Rows]:
            return accelerations(chain, q, v, torque), memory

        if chain.integrator == "RK4" and once is batched.whole:
            q, v = _rk4_written_out(chain, self.frame_skip, q, v, torque, once)
        else:
            integrate = INTEGRATORS[chain.integrator]
            q, v, _ = integrate(acceleration, chain.timestep, self.frame_skip, q, v, torque, [], once)
        return jnp.stack(q, axis=1), jnp.stack(v, axis=1)


def _number(field: Any) -> Any:
    """What counts of a field [] or [nu, 6]: a motor on a hinge has the first entry of its gear alone."""
    return field if field.ndim == 0 else field[:, 0]


def _rk4_written_out(chain: Chain, steps: int, q: Rows, v: Rows, torque: Rows, once: batched.Once) -> tuple[Rows, Rows]:
    """The same for a GPU, where starting a kernel is what costs: the four stages of a time step are one kernel, for
    XLA fuses nothing across the barrier. A loop over stages takes five for each."""
    h = chain.timestep

    @once
    def time_step(start: Rows) -> Rows:
        total = now = start
        for offset, weight in zip(RK4_OFFSET, RK4_WEIGHT, strict=True):
            position, velocity = now[: len(q)], now[len(q) :]
            rate = [*velocity, *accelerations(chain, position, velocity, torque)]
            total = [x + h * weight * y for x, y in zip(total, rate, strict=True)]
            now = [x + h * offset * y for x, y in zip(start, rate, strict=True)]
        return total

    def step(_: Array, state: Rows) -> Rows:
        return jax.lax.optimization_barrier(time_step(state))

    state = jax.lax.fori_loop(0, steps, step, [*q, *v], unroll=UNROLLED)
    return state[: len(q)], state[len(q) :]


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
        ours = np.array(accelerations(chain, list(data.qpos), list(data.qvel), torque, np))
        if not np.abs(ours - data.qacc).max() <= 1e-6 * np.abs(data.qacc).max():
            refuse("some feature of this model (its accelerations differ from MuJoCo's)")
