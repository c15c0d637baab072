"""More trials than slots in one program: where one ends, another begins, and nothing is compiled anew.

Moves the arrays that `halving` says, and gives the run the settings of now.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.agents.hyperparameters import Hyper
from sacbrax.config import Config
from sacbrax.core.types import Array
from sacbrax.sweep.halving import Stay, stays
from sacbrax.sweep.spec import SweepConfig
from sacbrax.sweep.trials import Trials, columns, differences, stacked
from sacbrax.training.population import Population
from sacbrax.training.trainer import TrainState


def renewed(state: TrainState, fresh: TrainState, which: Array) -> TrainState:
    """The agents of `fresh` in the places `which`, bool [A], else those of `state`."""

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(which.reshape(which.shape + (1,) * (new.ndim - 1)), new, old)

    chosen: TrainState = jax.tree.map(choose, fresh, state)
    return chosen


class Slots(Trials):
    """The first of `configs`, of one `signature`, times their seeds; the others follow where a slot is free."""

    def __init__(
        self,
        configs: Sequence[Config],
        slots: int,
        sweep: SweepConfig,
        others: Sequence[Sequence[float]] = (),
        like: Population | None = None,
    ):
        """others: scores after each evaluation of earlier trials, which these are judged among."""
        first = configs[0]
        self.budget = first.num_epochs
        self._updates = first.gradient_steps(first.iterations_per_epoch)
        # Enough for all trials if none is pruned; the run ends when no slot is taken.
        longest = first.exploration_iterations + self.budget * first.iterations_per_epoch * -(-len(configs) // slots)
        train = dataclasses.replace(first.train, total_env_steps=longest * first.env.num_envs)
        super().__init__([dataclasses.replace(first, train=train), *configs[1:slots]], like)
        self.trials = differences(configs)
        self._configs, self._slots, self._sweep = configs, slots, sweep
        self._seeds, self._sign = first.train.num_seeds, 1.0 if sweep.direction == "maximize" else -1.0
        self._others = [[self._sign * score for score in curve] for curve in others]  # as `stays` has ours
        self._known: tuple[int, list[Stay]] = (0, [])
        self._renewed: Any = None

    def table(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """`metric` of every evaluation, slot and seed, [E, slots, S]; NaN before the first update, where null, and
        where the agent is stuck.

        Raises `NoMetricError`.
        """
        found = np.full((len(rows), self._slots, self._seeds), np.nan)
        values = columns(rows[1:], self._sweep.metric, self._slots * self._seeds)
        found[1:] = np.asarray(values, np.float64).reshape(found[1:].shape)
        return np.where(self.stuck(rows), np.nan, found)

    def stuck(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Whether all updates since the evaluation before were skipped, bool [E, slots, S]: the policy is no other."""
        agents = range(self._slots * self._seeds)
        skipped = [[row.get(f"seed_{i}/train/skipped_updates") == self._updates for i in agents] for row in rows]
        return np.asarray(skipped, bool).reshape(len(rows), self._slots, self._seeds)

    def bad_updates(self, counts: np.ndarray) -> int:
        """A run in which all agents are stuck goes on: their trials end by the rule, and others take the slots."""
        return 0

    def stays(self, rows: Sequence[Mapping[str, Any]]) -> list[Stay]:
        """Who was in which slot when, after these evaluations; asked often, so the last answer is kept."""
        if self._known[0] != len(rows):
            scores = self._sign * self.table(rows).mean(axis=2)
            found = stays(scores, len(self._configs), self.budget, self._sweep.asha, self._others)
            self._known = len(rows), found
        return self._known[1]

    def finished(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether no slot is taken any more."""
        return len(rows) > 1 and all(stay.end is not None for stay in self.stays(rows))

    def hyper_after(self, rows: Sequence[Mapping[str, Any]]) -> Hyper:
        """Of whoever is in each slot, or was there last."""
        inside = list(range(self._slots))
        for stay in self.stays(rows) if rows else ():
            inside[stay.slot] = stay.trial
        return stacked([self._configs[trial] for trial in inside], self.trainer.action_size)

    def exchange(self, state: TrainState, rows: Sequence[Mapping[str, Any]]) -> TrainState:
        """New trials in the slots that became free just now, explored; the state given is gone afterwards."""
        free = [stay.slot for stay in self.stays(rows) if stay.begin == len(rows) - 1 > 0]
        if not free:
            return state
        hyper = self.hyper_after(rows)
        init, prefill = (self.compiled.get(name, getattr(self.programs, name)) for name in ("init", "prefill"))
        fresh = prefill(init(self.train_keys, hyper), hyper)  # all slots, for that is the program that there is
        which = np.repeat(np.isin(np.arange(self._slots), free), self._seeds)
        if self._renewed is None:
            self._renewed = jax.jit(renewed, donate_argnums=0)
        result: TrainState = self._renewed(state, fresh, which)
        return result
