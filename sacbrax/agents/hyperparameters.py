"""The numbers of an algorithm that a sweep may vary, and schedules of the gradient step for some of them.

All values are traced scalars, so sweeps are a vmap axis and recompile nothing; a schedule's shape and boundaries are
static. A plain number costs nothing inside the update.
"""

import itertools
import math
from typing import Any

import jax.numpy as jnp
import optax
from flax import struct

from sacbrax.config import Config, ConfigError, ScheduleConfig
from sacbrax.core.types import Array

# Of one squashed action relative to a prior [nats]: the logarithm of the prior's measure of [-1, 1].
HIGHEST_ENTROPY = {"uniform": math.log(2.0), "normal": math.log(math.erf(math.sqrt(0.5)))}


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


class Hyper(struct.PyTreeNode):
    """The numbers of a configuration. Those typed Any may be schedules, and are read through `at`."""

    learning_rate: Any
    actor_learning_rate: Any  # these four are None where the group takes learning_rate
    critic_learning_rate: Any
    value_learning_rate: Any
    temperature_learning_rate: Any
    gamma: Array
    tau: Array
    reward_scale: Any
    reward_centering: Array
    target_entropy: Any
    regularization: Array

    @classmethod
    def create(cls, config: Config, action_size: int) -> "Hyper":
        """The traced numbers of a configuration. Raises `ConfigError` for an entropy that no policy can have."""
        _check_entropy(config, action_size)
        algorithm = config.algorithm
        rates = {name: getattr(algorithm, name) for name in cls.__annotations__ if name.endswith("learning_rate")}
        entropy = algorithm.target_entropy
        return cls(
            **{name: None if rate is None else create(rate) for name, rate in rates.items()},
            gamma=create(algorithm.gamma),
            tau=create(algorithm.tau),
            reward_scale=create(algorithm.reward_scale),
            reward_centering=create(algorithm.reward_centering),
            target_entropy=create(-float(action_size) if entropy is None else entropy),
            regularization=create(config.policy.regularization),
        )

    def at(self, step: Array) -> "Hyper":
        """The same numbers with every schedule replaced by its value at a gradient step, int32 []."""
        numbers = vars(self)
        return Hyper(**{name: n(step) if isinstance(n, Schedule) else n for name, n in numbers.items()})

    def rates(self) -> dict[str, Array]:
        """Adam step size of each parameter group."""
        own = {
            "actor": self.actor_learning_rate,
            "critic": self.critic_learning_rate,
            "value": self.value_learning_rate,
            "log_temperature": self.temperature_learning_rate,
        }
        return {group: self.learning_rate if rate is None else rate for group, rate in own.items()}


def _check_entropy(config: Config, action_size: int) -> None:
    """Squashed actions cannot come nearer to their prior than the prior cut to [-1, 1]^A. Where more entropy is wanted
    the temperature grows until numbers end."""
    algorithm = config.algorithm
    wanted = algorithm.target_entropy
    if wanted is None or algorithm.name != "sac_v2" or not config.policy.squash:
        return
    highest = max(wanted.values) if isinstance(wanted, ScheduleConfig) else wanted
    limit = action_size * HIGHEST_ENTROPY[algorithm.action_prior]
    if highest >= limit:
        raise ConfigError(
            f"algorithm.target_entropy: must be below {limit:.3f}, the most that {action_size} actions in [-1, 1] can "
            f"have relative to a {algorithm.action_prior} prior, got {highest:g}; usual is {-action_size}"
        )
