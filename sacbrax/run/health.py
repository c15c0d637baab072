"""Whether a run has something to learn from, goes on learning, and learns what was meant."""

import numpy as np

from sacbrax.core.errors import TrainingError
from sacbrax.sinks.console import Reporter
from sacbrax.training.population import Population
from sacbrax.training.programs import fetch
from sacbrax.training.trainer import TrainState


class Health:
    """Looks at the state and the episodes of one run."""

    def __init__(self, population: Population, reporter: Reporter):
        self._population, self._config, self._reporter = population, population.config, reporter
        self._warned_of_centering = False
        self.stuck_seeds: list[int] = []  # places along [S] of agents that cannot go on

    def check_explored(self, state: TrainState) -> None:
        """Raise `TrainingError` after an exploration of which nothing could be kept."""
        if not np.all(fetch(state.replay.size)):
            raise TrainingError(
                f"env.name: {self._config.env.name} gave no observation, reward and physics that are all finite in "
                f"{self._config.train.exploration_env_steps:,} exploration steps; there is nothing to learn from"
            )

    def bad_updates(self, state: TrainState) -> int:
        """How many updates in a row were skipped, as the population counts them."""
        counts = np.atleast_1d(fetch(state.agent.bad_updates))
        self.stuck_seeds = np.flatnonzero(counts >= self._config.train.max_bad_updates).tolist()
        return self._population.bad_updates(counts)

    def check_centering(self, lengths: np.ndarray, returns: np.ndarray) -> None:
        """Warn once if a task with centered rewards terminates, which shows in the lengths of its episodes alone; one
        that a fault has cut has no finite return."""
        ended = bool(np.any((lengths < self._config.env.episode_length) & np.isfinite(returns)))
        if ended and self._config.algorithm.reward_centering > 0 and not self._warned_of_centering:
            self._reporter.warn(
                "algorithm.reward_centering: episodes of this task end before their time limit; with centered rewards "
                "an end is worth the mean reward, which changes the best policy"
            )
            self._warned_of_centering = True
