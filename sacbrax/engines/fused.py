"""The fused engine: a planar swimmer stepped by plain arithmetic, the same physics as MuJoCo's and MJX's.

Inside, the state is a list of rows, each one number of the mechanism over a block of environments. docs/physics.md says
how it is derived, tested and made fast.
"""

import copy
import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from sacbrax.core.types import Array
from sacbrax.engines.swimmer.dynamics import Rows, accelerations, motor_torques
from sacbrax.engines.swimmer.mechanism import Chain, read_chain, refuse, scaled
from sacbrax.xla.native_calls import compiled_apart, computed_once

BLOCK = 128  # environments per block on a CPU: some hundred rows of 512 bytes stay in its caches
LANES = 16  # a block is a multiple of this: no remainder loop beside the vector loop
RK4_OFFSET = (1 / 2, 1 / 2, 1.0, 0.0)  # of the next stage from the start, in time steps
RK4_WEIGHT = (1 / 6, 1 / 3, 1 / 3, 1 / 6)  # of this stage in the sum


class Fused:
    """Steps a planar swimmer `model` by `frame_skip` time steps of its own integrator."""

    name = "fused"

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
        factors = [self._factors(fields, qpos)[None]] if fields else []
        qpos, qvel = _step.bind(qpos[None], qvel[None], ctrl[None], *factors, engine=self)
        return qpos[0], qvel[0]

    def _factors(self, fields: Mapping[str, Array], like: Array) -> Array:
        """What `fields` multiply: density, viscosity and each motor's gear, [2 + nu] relative to the model's own."""
        for name, value in fields.items():
            own = self._nominal.get(name)
            if own is None:
                raise ValueError(f"env.randomize: the fused engine varies {', '.join(self._nominal)}, not {name}")
            if own.shape != value.shape:
                raise ValueError(f"env.randomize: {name} has shape {own.shape}, not {value.shape}")
        density, viscosity, gear = (
            fields.get(name, jnp.asarray(own, like.dtype)).astype(like.dtype) for name, own in self._nominal.items()
        )
        own = {name: jnp.asarray(value, like.dtype) for name, value in self._nominal.items()}
        fluid = jnp.stack([density / own["opt.density"], viscosity / own["opt.viscosity"]])
        return jnp.concatenate([fluid, gear[:, 0] / own["actuator_gear"][:, 0]])

    def step_rows(self, *state: Array) -> tuple[Array, Array]:
        """qpos [N, nq], qvel [N, nv], ctrl [N, nu], factors [N, 2 + nu] or none -> (qpos, qvel). All environments in
        one row each, as a GPU wants it: XLA fuses the arithmetic of a stage into few kernels."""
        return self._integrate(lambda f: f, *state)

    def step_blocks(self, *state: Array) -> tuple[Array, Array]:
        """The same block by block, as a CPU wants it: each block is one call of one compiled function."""
        n = state[0].shape[0]
        blocks = -(-n // BLOCK)
        block = -(-n // (blocks * LANES)) * LANES

        def split(x: Array) -> Array:
            return jnp.pad(x, ((0, blocks * block - n), (0, 0))).reshape(blocks, block, -1)

        @compiled_apart
        def step(*state: Array) -> tuple[Array, Array]:
            return self._integrate(computed_once, *state)

        def join(x: Array) -> Array:
            return x.reshape(blocks * block, -1)[:n]

        qpos, qvel = jax.lax.map(lambda args: step(*args), tuple(split(x) for x in state))
        return join(qpos), join(qvel)

    def _integrate(
        self, once: Callable[[Callable], Callable], qpos: Array, qvel: Array, ctrl: Array, *factors: Array
    ) -> tuple[Array, Array]:
        """`frame_skip` time steps of [N, ...] arrays; `once` wraps the arithmetic of a stage for the compiler."""
        q, v = list(qpos.T), list(qvel.T)
        chain = scaled(self.chain, *factors[0].T) if factors else self.chain
        torque = motor_torques(chain, list(ctrl.T))
        integrate = _rk4 if chain.integrator == "RK4" else _euler
        q, v = integrate(chain, self.frame_skip, q, v, torque, once)
        return jnp.stack(q, axis=1), jnp.stack(v, axis=1)


# One operation of the program for all environments. A primitive, since it then is traced once, when it is compiled, for
# the platform it is compiled for and the whole batch; `custom_vmap` and `platform_dependent` trace each alternative.
_step = Primitive("fused_step")
_step.multiple_results = True
_step.def_abstract_eval(lambda qpos, qvel, *_, engine: (qpos, qvel))
_step.def_impl(lambda *state, engine: jax.jit(functools.partial(_step.bind, engine=engine))(*state))
mlir.register_lowering(
    _step, mlir.lower_fun(lambda *state, engine: engine.step_blocks(*state), multiple_results=True), platform="cpu"
)
mlir.register_lowering(_step, mlir.lower_fun(lambda *state, engine: engine.step_rows(*state), multiple_results=True))


def _merge_axes(args: tuple[Array, ...], axes: tuple[Any, ...], engine: Fused) -> tuple[list[Array], tuple[int, int]]:
    """Any nest of `vmap`s (environments, seeds) becomes one batch axis [N], so that blocks see all of it."""
    size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
    full = [batching.bdim_at_front(x, axis, size) for x, axis in zip(args, axes, strict=True)]
    many = _step.bind(*(x.reshape(-1, x.shape[-1]) for x in full), engine=engine)
    return [x.reshape(size, -1, x.shape[-1]) for x in many], (0, 0)


batching.primitive_batchers[_step] = _merge_axes


def _euler(
    chain: Chain, steps: int, q: Rows, v: Rows, torque: Rows, once: Callable[[Callable], Callable]
) -> tuple[Rows, Rows]:
    """MuJoCo's semi-implicit Euler steps."""
    h = chain.timestep

    @once
    def step(q: Rows, v: Rows, torque: Rows) -> tuple[Rows, Rows]:
        a = accelerations(chain, q, v, torque)
        v = [x + h * y for x, y in zip(v, a, strict=True)]
        return [x + h * y for x, y in zip(q, v, strict=True)], v

    return jax.lax.fori_loop(0, steps, lambda _, state: step(*state, torque), (q, v))


def _rk4(
    chain: Chain, steps: int, q: Rows, v: Rows, torque: Rows, once: Callable[[Callable], Callable]
) -> tuple[Rows, Rows]:
    """Classical Runge-Kutta steps, all stages as one loop: a quarter of the code to compile."""
    offsets, weights = (chain.timestep * jnp.asarray(c, q[0].dtype) for c in (RK4_OFFSET, RK4_WEIGHT))

    @once
    def stage(
        offset: Array, weight: Array, last: Array, torque: Rows, start: Rows, total: Rows, now: Rows
    ) -> tuple[Rows, Rows, Rows]:
        """Rows of `start` [nq + nv] of this time step, of the weighted sum so far, and of the stage's own state."""
        q, v = now[: chain.links + 2], now[chain.links + 2 :]
        rate = [*v, *accelerations(chain, q, v, torque)]
        total = [x + weight * y for x, y in zip(total, rate, strict=True)]
        now = [jnp.where(last, z, x + offset * y) for x, y, z in zip(start, rate, total, strict=True)]
        start = [jnp.where(last, z, x) for x, z in zip(start, total, strict=True)]
        return start, total, now

    def body(i: Array, state: tuple[Rows, Rows, Rows]) -> tuple[Rows, Rows, Rows]:
        k = i % 4
        return stage(offsets[k], weights[k], k == 3, torque, *state)

    start, _, _ = jax.lax.fori_loop(0, 4 * steps, body, ([*q, *v],) * 3)
    return start[: len(q)], start[len(q) :]


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
