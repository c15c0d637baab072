"""The numbers of an algorithm that a sweep may vary, and schedules of the gradient step for some of them.

All values are traced scalars, so sweeps are a vmap axis and recompile nothing; a schedule's shape and boundaries are
static. A plain number costs nothing inside the update.
"""

import itertools
from typing import Any

import jax.numpy as jnp
import optax
from flax import struct

from sacbrax.config import Config, ScheduleConfig
from sacbrax.types import Array


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


def create(number: float | ScheduleConfig) -> Array | Schedule:
    """A traced scalar, or a schedule of such scalars."""
    if isinstance(number, ScheduleConfig):
        values = tuple(jnp.asarray(value, jnp.float32) for value in number.values)
        return Schedule(values, number.boundaries, number.schedule)
    return jnp.asarray(number, jnp.float32)


class Hyper(struct.PyTreeNode):
    """The numbers of a configuration, nulls resolved. Those that may be schedules are read through `at`."""

    learning_rates: dict[str, Any]  # by parameter group
    gamma: Array
    tau: Array
    reward_scale: Any
    reward_centering: Array
    target_entropy: Any
    regularization: Array

    @classmethod
    def create(cls, config: Config, action_size: int) -> "Hyper":
        """The traced numbers of a configuration."""
        algorithm = config.algorithm
        rates = {
            "actor": algorithm.actor_learning_rate,
            "critic": algorithm.critic_learning_rate,
            "value": algorithm.value_learning_rate,
            "log_temperature": algorithm.temperature_learning_rate,
        }
        entropy = algorithm.target_entropy
        return cls(
            learning_rates={n: create(algorithm.learning_rate if r is None else r) for n, r in rates.items()},
            gamma=create(algorithm.gamma),
            tau=create(algorithm.tau),
            reward_scale=create(algorithm.reward_scale),
            reward_centering=create(algorithm.reward_centering),
            target_entropy=create(-float(action_size) if entropy is None else entropy),
            regularization=create(config.policy.regularization),
        )

    def at(self, step: Array) -> "Hyper":
        """The same numbers with every schedule replaced by its value at a gradient step, int32 []."""

        def value(number: Any) -> Any:
            return number(step) if isinstance(number, Schedule) else number

        return self.replace(
            learning_rates={name: value(rate) for name, rate in self.learning_rates.items()},
            reward_scale=value(self.reward_scale),
            target_entropy=value(self.target_entropy),
        )
