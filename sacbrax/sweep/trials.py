"""Trials that differ in traced numbers only, side by side in one program: an axis of trials x seeds.

Says which configurations can share a program, and makes the population that a run trains.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.registry import hyper_structure, make_hyper
from sacbrax.config import Config, ConfigError, flat, traced
from sacbrax.training.plan import Plan
from sacbrax.training.population import Population
from sacbrax.training.programs import Programs


class NoMetricError(ConfigError):
    """The sweep's mistake, unlike what ends one trial."""


def signature(config: Config) -> str:
    """Equal for configurations that one compiled program can serve: traced numbers and seeds may differ, all else sets
    a shape or a branch."""
    free = {*traced(config), "train.seed"}
    static = {key: value for key, value in flat(config).items() if key not in free and not key.startswith("run.")}
    switches = (config.policy.regularization > 0, config.algorithm.reward_centering > 0)
    return repr((static, str(hyper_structure(config)), switches))


def stacked(configs: Sequence[Config], action_size: int) -> Hyper:
    """The traced numbers of configurations of one `signature`, each as often as it has seeds, [T * S]."""
    numbers, seeds = [make_hyper(each, action_size) for each in configs], configs[0].train.num_seeds
    return jax.tree.map(lambda *values: jnp.repeat(jnp.stack(values), seeds), *numbers)


def differences(configs: Sequence[Config]) -> list[dict[str, Any]]:
    """Of each configuration its values of the keys in which they differ."""
    settings = [flat(config) for config in configs]
    keys = [key for key, value in settings[0].items() if any(other[key] != value for other in settings)]
    return [{key: each[key] for key in keys} for each in settings]


class Trials(Population):
    """Configurations of one `signature`, times their seeds: agent t * S + s is seed s of trial t.

    One agent that cannot go on is no reason to stop the others.
    spread: over the devices that `parallel` says, whole agents on each.
    """

    def __init__(self, configs: Sequence[Config], like: Population | None = None, spread: bool = False):
        first, seeds = configs[0], configs[0].train.num_seeds
        config = dataclasses.replace(first, train=dataclasses.replace(first.train, num_seeds=len(configs) * seeds))
        super().__init__(config, like, plan=Plan.of(config) if spread else None, own_numbers=True)
        self.trials = differences(configs)
        self.hyper = stacked(configs, self.trainer.action_size)
        keys = [Programs(self.trainer, seeds).keys(each.train.seed) for each in configs]
        self.train_keys, self.eval_keys = (
            jnp.concatenate([jnp.atleast_1d(pair[i]) for pair in keys]) for i in range(2)
        )
        self.seeds = [each.train.seed + s for each in configs for s in range(seeds)]

    def bad_updates(self, counts: np.ndarray) -> int:
        """The run ends when no agent can go on."""
        return int(np.min(counts))


def columns(rows: Sequence[Mapping[str, Any]], metric: str, agents: int) -> list[list[Any]]:
    """The metric of every agent in every row, None where it is null or missing, as in the first one all of training.

    Raises `NoMetricError`.
    """
    names = [metric] if agents == 1 else [f"seed_{i}/{metric}" for i in range(agents)]
    if rows and not any(name in row for name in names for row in rows):
        raise NoMetricError(f"metric: the runs have no {metric!r}")
    return [[row.get(name) for name in names] for row in rows]


def outcomes(
    rows: Sequence[Mapping[str, Any]], stuck: Sequence[int], trials: int, seeds: int, metric: str
) -> list[Any]:
    """For each trial its metric over the run, [evaluations][S], or None where one of its agents could not go on.

    Raises `NoMetricError`.
    """
    table = columns(rows, metric, trials * seeds)
    return [
        None
        if any(t * seeds <= agent < (t + 1) * seeds for agent in stuck)
        else [line[t * seeds : (t + 1) * seeds] for line in table]
        for t in range(trials)
    ]
