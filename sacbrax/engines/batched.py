"""What turns any nest of `vmap` over a fused engine's step into one operation on rows, and that into fast code.

Knows no mechanism: an engine says how a batch is integrated.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.interpreters import mlir

from sacbrax.core.types import Array
from sacbrax.engines.one_batch import operation
from sacbrax.xla.native_calls import compiled_apart, computed_once
from sacbrax.xla.one_kernel import one_kernel

# Environments per block on a CPU: some hundred rows of 512 bytes stay in its caches. An engine with longer rows has a
# `block` of its own.
BLOCK = 128
LANES = 16  # a block is a multiple of this: no remainder loop beside the vector loop
Once = Callable[[Callable], Callable]
_ONE_KERNEL = jax.make_user_context(default_value=False)  # a variable that tells jit's traces apart


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
    return tuple(x[0] for x in _step.bind(*(x[None] for x in state), engine=engine, kernel=_ONE_KERNEL.value))


@contextlib.contextmanager
def as_one_kernel() -> Iterator[None]:
    """What is traced in here steps on a GPU by `step_kernel`, not by `step_rows`."""
    with _ONE_KERNEL(True):
        yield


def step_rows(engine: Integrates, *state: Array) -> tuple[Array, ...]:
    """A batch, all environments in one row each, as a GPU wants it: XLA fuses a stage into few kernels."""
    return engine.integrate(whole, *state)


def step_kernel(engine: Integrates, *state: Array, interpret: bool = False) -> list[Array]:
    """The same as one kernel, for GPUs that Triton compiles for: its loops end with the environments of a warp."""
    return one_kernel(functools.partial(step_rows, engine), *state, interpret=interpret)


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


def _shapes(qpos: Any, qvel: Any, *_: Any, engine: Integrates, kernel: bool) -> list[Any]:
    return [qpos, qvel, *([qpos.update(shape=(qpos.shape[0], engine.memory))] if engine.memory else [])]


def _on_cpu(*state: Array, engine: Integrates, kernel: bool) -> tuple[Array, ...]:
    return step_blocks(engine, *state)


def _elsewhere(*state: Array, engine: Integrates, kernel: bool) -> Any:
    return (step_kernel if kernel else step_rows)(engine, *state)


# One operation of the program for all environments, so that blocks see all of them; `custom_vmap` and
# `platform_dependent` would trace each alternative.
_step = operation("fused_step", _shapes)
mlir.register_lowering(_step, mlir.lower_fun(_on_cpu, multiple_results=True), platform="cpu")
mlir.register_lowering(_step, mlir.lower_fun(_elsewhere, multiple_results=True))
