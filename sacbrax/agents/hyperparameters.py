"""The numbers of an algorithm that a sweep may vary, and schedules of the gradient step for some of them.

All values are traced scalars, so sweeps are a vmap axis and recompile nothing; a schedule's shape and boundaries are
static. A plain number costs nothing inside the update. Which keys these are, their options say (`option(traced=True)`).
"""

import itertools
from typing import Any

import jax.numpy as jnp
import optax
from flax import struct

from sacbrax.config import Config, ScheduleConfig, traced
from sacbrax.core.types import Array

# By the name of the key, `hyper["gamma"]`: a scalar [], a `Schedule`, or None for a key that is null.
Hyper = dict[str, Any]


class Schedule(struct.PyTreeNode):
    """A number that changes with the gradient step; see `ScheduleConfig` for the meaning."""

    values: tuple[Array, ...]  # [] each
    boundaries: tuple[int, ...] = struct.field(pytree_node=False)
    shape: str = struct.field(pytree_node=False)

    def __call__(self, step: Array) -> Array:
        """The value at a gradient step, int32 [] -> []."""
        knots = list(zip(self.values, (0, *self.boundaries), strict=True))
        pieces = [self._piece(a, b, end - start) for (a, start), (b, end) in itertools.pairwise(knots)]
        return optax.join_schedules([*pieces, optax.constant_schedule(self.values[-1])], self.boundaries)(step)

    def _piece(self, first: Array, last: Array, steps: int) -> Any:
        """optax's schedule from one value to the next."""
        if self.shape == "linear":
            return optax.linear_schedule(first, last, steps)
        if self.shape == "cosine":
            decay = optax.cosine_decay_schedule(1.0, steps)
            return lambda step: last + (first - last) * decay(step)
        return optax.constant_schedule(first)


def create(number: float | ScheduleConfig) -> Any:
    """A traced scalar, or a schedule of such scalars."""
    if isinstance(number, ScheduleConfig):
        values = tuple(jnp.asarray(value, jnp.float32) for value in number.values)
        return Schedule(values, number.boundaries, number.schedule)
    return jnp.asarray(number, jnp.float32)


def of(config: Config) -> Hyper:
    """The traced numbers of a configuration, as it has them; an algorithm's `hyper` replaces nulls."""
    numbers = {key.rpartition(".")[2]: value for key, value in traced(config).items()}
    return {name: None if number is None else create(number) for name, number in numbers.items()}


def at(hyper: Hyper, step: Array) -> Hyper:
    """The same numbers with every schedule replaced by its value at a gradient step, int32 []."""
    return {name: number(step) if isinstance(number, Schedule) else number for name, number in hyper.items()}
