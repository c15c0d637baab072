"""MuJoCo's two integrators on rows, for any mechanism that knows its accelerations."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from sacbrax.core.types import Array
from sacbrax.engines.batched import Once
from sacbrax.engines.rows import Rows

RK4_OFFSET = (1 / 2, 1 / 2, 1.0, 0.0)  # of the next stage from the start, in time steps
RK4_WEIGHT = (1 / 6, 1 / 3, 1 / 3, 1 / 6)  # of this stage in the sum
# Positions [nq], velocities [nv], motor forces and a memory -> accelerations [nv] and the memory of this evaluation. A
# mechanism that need not remember the evaluation before has an empty one.
Acceleration = Callable[[Rows, Rows, Rows, Rows], tuple[Rows, Rows]]


class Positions(Protocol):
    """What a time step needs of positions that velocities are not simply the rates of."""

    def rates(self, q: Rows, v: Rows) -> Rows:
        """How fast positions change; the number 0 where they do not."""
        ...

    def settled(self, q: Rows) -> Rows:
        """The end of a time step as the start of the next."""
        ...


class Plain:
    """Positions of slides and hinges, whose rates the velocities are."""

    def rates(self, q: Rows, v: Rows) -> Rows:
        """The velocities."""
        return v

    def settled(self, q: Rows) -> Rows:
        """As they are."""
        return q


PLAIN = Plain()


def _along(x: Any, time: Any, rate: Any) -> Any:
    return x if isinstance(rate, float) and rate == 0 else x + time * rate


def euler(
    acceleration: Acceleration,
    timestep: float,
    steps: int,
    q: Rows,
    v: Rows,
    forces: Rows,
    memory: Rows,
    once: Once,
    positions: Positions = PLAIN,
) -> tuple[Rows, Rows, Rows]:
    """`steps` semi-implicit Euler steps -> positions, velocities and the last memory; `once` wraps the arithmetic of
    each step for the compiler."""

    @once
    def step(q: Rows, v: Rows, memory: Rows, forces: Rows) -> tuple[Rows, Rows, Rows]:
        a, memory = acceleration(q, v, forces, memory)
        v = [x + timestep * y for x, y in zip(v, a, strict=True)]
        q = [_along(x, timestep, y) for x, y in zip(q, positions.rates(q, v), strict=True)]
        return positions.settled(q), v, memory

    return jax.lax.fori_loop(0, steps, lambda _, state: step(*state, forces), (q, v, memory))


def rk4(
    acceleration: Acceleration,
    timestep: float,
    steps: int,
    q: Rows,
    v: Rows,
    forces: Rows,
    memory: Rows,
    once: Once,
    positions: Positions = PLAIN,
) -> tuple[Rows, Rows, Rows]:
    """The same with `steps` classical Runge-Kutta steps, all stages as one loop: a quarter of the code to compile."""
    offsets, weights = (timestep * jnp.asarray(c, q[0].dtype) for c in (RK4_OFFSET, RK4_WEIGHT))
    n = len(q)

    @once
    def stage(
        offset: Array, weight: Array, last: Array, forces: Rows, start: Rows, total: Rows, now: Rows, memory: Rows
    ) -> tuple[Rows, Rows, Rows, Rows]:
        """Rows of `start` [nq + nv] of this time step, of the weighted sum so far, and of the stage's own state."""
        q, v = now[:n], now[n:]
        a, memory = acceleration(q, v, forces, memory)
        rate = [*positions.rates(q, v), *a]
        total = [_along(x, weight, y) for x, y in zip(total, rate, strict=True)]
        end = [*positions.settled(total[:n]), *total[n:]]
        now = [jnp.where(last, z, _along(x, offset, y)) for x, y, z in zip(start, rate, end, strict=True)]
        start = [jnp.where(last, z, x) for x, z in zip(start, end, strict=True)]
        total = [x if x is z else jnp.where(last, z, x) for x, z in zip(total, end, strict=True)]
        return start, total, now, memory

    def body(i: Array, state: tuple[Rows, Rows, Rows, Rows]) -> tuple[Rows, Rows, Rows, Rows]:
        k = i % 4
        return stage(offsets[k], weights[k], k == 3, forces, *state)

    begin = [*q, *v]
    start, *_, memory = jax.lax.fori_loop(0, 4 * steps, body, (begin, begin, begin, memory))
    return start[:n], start[n:], memory


INTEGRATORS = {"Euler": euler, "RK4": rk4}
