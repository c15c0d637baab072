"""What turns any nest of `vmap` over a fused engine's step into one operation on rows, and that into fast code.

Knows no mechanism: an engine says how a batch is integrated.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from sacbrax.core.types import Array
from sacbrax.xla.native_calls import compiled_apart, computed_once

# Environments per block on a CPU: some hundred rows of 512 bytes stay in its caches. An engine with longer rows has a
# `block` of its own.
BLOCK = 128
LANES = 16  # a block is a multiple of this: no remainder loop beside the vector loop
Once = Callable[[Callable], Callable]


def whole(f: Callable) -> Callable:
    """The `Once` of a GPU: the arithmetic as it stands, for XLA to fuse."""
    return f


class Integrates(Protocol):
    """An engine's arithmetic on a batch."""

    @property
    def memory(self) -> int:
        """Columns that `integrate` returns beside the state."""
        ...

    def integrate(self, once: Once, qpos: Array, qvel: Array, *inputs: Array) -> tuple[Array, ...]:
        """qpos [N, nq], qvel [N, nv] and inputs [N, ...] -> (qpos, qvel) one environment step later, and with `memory`
        an array [N, memory] of the last evaluation of the dynamics. `once` wraps the arithmetic of a stage for the
        compiler."""
        ...


def step(engine: Integrates, *state: Array) -> tuple[Array, ...]:
    """One environment: qpos [nq], qvel [nv], inputs [...] -> what `integrate` returns. Callers `vmap` it."""
    return tuple(x[0] for x in _step.bind(*(x[None] for x in state), engine=engine))


def step_rows(engine: Integrates, *state: Array) -> tuple[Array, ...]:
    """A batch, all environments in one row each, as a GPU wants it: XLA fuses a stage into few kernels."""
    return engine.integrate(whole, *state)


def step_blocks(engine: Integrates, *state: Array) -> tuple[Array, ...]:
    """The same block by block, as a CPU wants it: each block is one call of one compiled function."""
    n = state[0].shape[0]
    blocks = -(-n // getattr(engine, "block", BLOCK))
    block = -(-n // (blocks * LANES)) * LANES

    def split(x: Array) -> Array:
        return jnp.pad(x, ((0, blocks * block - n), (0, 0))).reshape(blocks, block, -1)

    @compiled_apart
    def step(*state: Array) -> tuple[Array, ...]:
        return engine.integrate(computed_once, *state)

    def join(x: Array) -> Array:
        return x.reshape(blocks * block, -1)[:n]

    return tuple(join(x) for x in jax.lax.map(lambda args: step(*args), tuple(split(x) for x in state)))


def _shapes(qpos: Any, qvel: Any, *_: Any, engine: Integrates) -> list[Any]:
    return [qpos, qvel, *([qpos.update(shape=(qpos.shape[0], engine.memory))] if engine.memory else [])]


# One operation of the program for all environments. A primitive, since it then is traced once, when it is compiled, for
# the platform it is compiled for and the whole batch; `custom_vmap` and `platform_dependent` trace each alternative.
_step = Primitive("fused_step")
_step.multiple_results = True
_step.def_abstract_eval(_shapes)
_step.def_impl(lambda *state, engine: jax.jit(functools.partial(_step.bind, engine=engine))(*state))
mlir.register_lowering(
    _step, mlir.lower_fun(lambda *state, engine: step_blocks(engine, *state), multiple_results=True), platform="cpu"
)
mlir.register_lowering(_step, mlir.lower_fun(lambda *state, engine: step_rows(engine, *state), multiple_results=True))


def _merge_axes(args: Sequence[Any], axes: Sequence[Any], engine: Integrates) -> tuple[list[Array], list[int]]:
    """Any nest of `vmap` (environments, seeds) becomes one batch axis [N], so that blocks see all of it."""
    size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
    full = [batching.bdim_at_front(x, axis, size) for x, axis in zip(args, axes, strict=True)]
    many = _step.bind(*(x.reshape(-1, x.shape[-1]) for x in full), engine=engine)
    return [x.reshape(size, -1, x.shape[-1]) for x in many], [0] * len(many)


batching.primitive_batchers[_step] = _merge_axes
