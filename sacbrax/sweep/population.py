"""A population in one program: trials side by side whose networks and settings are exchanged at evaluations.

Moves the arrays that `pbt` says, and gives the run the settings of now.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.agents.hyperparameters import Hyper
from sacbrax.config import Config
from sacbrax.core.types import Array
from sacbrax.sweep import pbt
from sacbrax.sweep.pbt import Exchange, PbtConfig
from sacbrax.sweep.spec import Sweep
from sacbrax.sweep.trials import Trials, outcomes, stacked
from sacbrax.training.population import Population
from sacbrax.training.trainer import TrainState


def copied(state: TrainState, sources: Array, copy: Sequence[str]) -> TrainState:
    """The state of agents [A] in which agent i goes on as agent sources[i] did; sources int32 [A].

    Networks, targets and the statistics they were made with are copied; optimizer and replay if `copy` names them, the
    latter with the environments that its last rows lead to. Random numbers stay each agent's own.
    """

    def taken(tree: Any) -> Any:
        return jax.tree.map(lambda x: x[sources], tree)

    agent, scale, before = taken(state.agent), taken(state.return_scale), state.return_scale
    # A copy of an agent that is stuck begins to count anew: with other settings it may go on.
    stays = sources == jnp.arange(len(sources))
    agent = agent.replace(bad_updates=jnp.where(stays, agent.bad_updates, 0))
    if "optimizer" not in copy:
        agent = agent.replace(optimizer=state.agent.optimizer)
    average = taken(state.policy_average)
    state = state.replace(agent=agent, normalizer=taken(state.normalizer), policy_average=average)
    if "replay" in copy:
        return state.replace(replay=taken(state.replay), env=taken(state.env), return_scale=scale)
    if before is not None:  # returns so far are of environments, which stay
        state = state.replace(return_scale=scale.replace(returns=before.returns))
    return state


class Members(Trials):
    """The members of a population, times their seeds: seed s of a copy goes on as seed s of its source."""

    def __init__(
        self,
        configs: Sequence[Config],
        settings: Sequence[pbt.Settings],
        sweep: Sweep,
        first: int = 0,
        like: Population | None = None,
    ):
        """settings: what the members' configurations begin with. first: number of the first among the sweep's trials,
        which gives each population of a sweep random numbers of its own."""
        super().__init__(configs, like, spread=True)
        self._configs, self._settings, self._sweep = configs, settings, sweep
        self._pbt: PbtConfig = sweep.config.pbt
        self._seed, self._seeds = (sweep.config.seed, first), configs[0].train.num_seeds
        self.space, self.sign = sweep.space, 1.0 if sweep.config.direction == "maximize" else -1.0
        self._copied: Any = None

    def scores(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Of every evaluation and member, [E, P]: `metric`, the mean over seeds; NaN before the first update.

        Raises `NoMetricError`.
        """
        table, members = np.full((len(rows), len(self._settings)), np.nan), len(self._settings)
        found = outcomes(rows[1:], [], members, self._seeds, self._sweep.config.metric)
        for member, values in enumerate(found):
            table[1:, member] = np.asarray(values, np.float64).reshape(-1, self._seeds).mean(axis=1)
        return table

    def exchanges(self, rows: Sequence[Mapping[str, Any]]) -> list[Exchange]:
        """All that these evaluations led to. Raises `NoMetricError`."""
        return pbt.history(self.sign * self.scores(rows), self._settings, self.space, self._pbt, self._seed)

    def settings(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[pbt.Settings]:
        """What the members train with after these evaluations."""
        exchanges = self.exchanges(rows)
        return exchanges[-1].settings if exchanges else self._settings

    def hyper_after(self, rows: Sequence[Mapping[str, Any]]) -> Hyper:
        """Of every member and seed."""
        configs = [self._sweep.trial(settings) for settings in self.settings(rows)]
        return stacked(configs, self.trainer.action_size)

    def exchange(self, state: TrainState, rows: Sequence[Mapping[str, Any]]) -> TrainState:
        """The worst go on as copies of the best; the state given is gone afterwards."""
        exchanges = self.exchanges(rows)
        if not exchanges or exchanges[-1].evaluation != len(rows) - 1:
            return state
        sources = np.asarray(exchanges[-1].sources, np.int32)
        if np.array_equal(sources, np.arange(len(sources))):
            return state
        agents = (sources[:, None] * self._seeds + np.arange(self._seeds)).ravel().astype(np.int32)
        if self._copied is None:
            places = jax.tree.map(lambda x: x.sharding, state)
            function = functools.partial(copied, copy=self._pbt.copy)
            self._copied = jax.jit(function, donate_argnums=0, out_shardings=places)
        result: TrainState = self._copied(state, agents)
        return result
