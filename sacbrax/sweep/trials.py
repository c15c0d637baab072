"""Trials that differ in traced numbers only, side by side in one program: an axis of trials x seeds.

Says which configurations can share a program, and makes the population that a run trains.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.agents.hyperparameters import Hyper
from sacbrax.config import Config, flat
from sacbrax.training.population import Population, initial_temperatures
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer

# Read outside the compiled program, or traced there; all else sets a shape or a branch.
TRACED = {
    *(f"algorithm.{name}" for name in Hyper.__annotations__ if name != "regularization"),
    "policy.regularization",
    "algorithm.initial_temperature",
    "train.seed",
}


def signature(config: Config) -> str:
    """Equal for configurations that one compiled program can serve."""
    static = {key: value for key, value in flat(config).items() if key not in TRACED and not key.startswith("run.")}
    numbers = Hyper.create(config, action_size=1)
    switches = (config.policy.regularization > 0, config.algorithm.reward_centering > 0)
    return repr((static, str(jax.tree.structure(numbers)), switches))


class Trials(Population):
    """Configurations of one `signature`, times their seeds: agent t * S + s is seed s of trial t.

    One agent that cannot go on is no reason to stop the others.
    """

    def __init__(self, configs: Sequence[Config], like: Population | None = None):
        first, seeds = configs[0], configs[0].train.num_seeds
        config = dataclasses.replace(first, train=dataclasses.replace(first.train, num_seeds=len(configs) * seeds))
        super().__init__(config, like)
        if like is None:
            self.programs = Programs(cast(Trainer, _Mapped(self.trainer)))
        numbers = [Hyper.create(each, self.trainer.action_size) for each in configs]
        self.hyper = jax.tree.map(lambda *values: jnp.repeat(jnp.stack(values), seeds), *numbers)
        keys = [Programs(self.trainer, seeds).keys(each.train.seed) for each in configs]
        self.train_keys, self.eval_keys = (
            jnp.concatenate([jnp.atleast_1d(pair[i]) for pair in keys]) for i in range(2)
        )
        self.seeds = [each.train.seed + s for each in configs for s in range(seeds)]
        self.initial = initial_temperatures(self.trainer, configs, seeds)

    def bad_updates(self, counts: np.ndarray) -> int:
        """The run ends when no agent can go on."""
        return int(np.min(counts))


class _Mapped:
    """A trainer whose every function maps over the axis of agents, hyperparameters included."""

    def __init__(self, trainer: Trainer):
        self.config, self.env = trainer.config, trainer.env
        self.init = jax.vmap(trainer.init)
        self.prefill = jax.vmap(trainer.prefill)
        self.epoch = jax.vmap(trainer.epoch)
        self.advance = jax.vmap(trainer.advance, in_axes=(0, 0, 0, None))
        self.zero_sums = jax.vmap(trainer.zero_sums)
        self.evaluate = jax.vmap(trainer.evaluate)
        self.diagnose = jax.vmap(trainer.diagnose)


def outcomes(
    rows: Sequence[Mapping[str, Any]], stuck: Sequence[int], trials: int, seeds: int, metric: str
) -> list[Any]:
    """For each trial its metric over the run, [evaluations][S], or None where one of its agents could not go on.

    Raises KeyError when the run has no such metric.
    """
    agents = trials * seeds
    names = [metric] if agents == 1 else [f"seed_{i}/{metric}" for i in range(agents)]
    table = [[row[name] for name in names] for row in rows]
    return [
        None
        if any(t * seeds <= agent < (t + 1) * seeds for agent in stuck)
        else [line[t * seeds : (t + 1) * seeds] for line in table]
        for t in range(trials)
    ]
