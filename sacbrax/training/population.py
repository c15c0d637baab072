"""The agents that train side by side in one run: one, or the seeds of a configuration along axis [S].

What a run needs of them: their programs, hyperparameters, keys and seeds. A sweep puts its trials along the same axis
(`sweep.trials`). Knows no files and no algorithm.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.registry import make_hyper
from sacbrax.config import Config, ConfigError
from sacbrax.parallel.shards import Shards
from sacbrax.training.plan import Plan
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer, TrainState


class Population:
    """The seeds `train.seed`, `train.seed` + 1, ... of one configuration, or `trials`.

    plan: the devices and shards that train them; one device and one shard when left out.
    like: a population of a configuration that differs in traced numbers and seeds alone; its programs serve again.
    own_numbers: the hyperparameters of the agents differ, and have the axis [S] too.
    """

    trials: Sequence[Mapping[str, Any]] = ()  # where the agents are those of several configurations: what is of each

    def __init__(
        self,
        config: Config,
        like: "Population | None" = None,
        plan: Plan | None = None,
        own_numbers: bool = False,
    ):
        if plan is None and (config.parallel.devices, config.parallel.processes) != (1, 1):
            raise ConfigError("parallel.devices: must be 1 here, where trials or agents share one device")
        self.config, self.size = config, config.train.num_seeds
        if like is None:
            self.trainer = Trainer(config, Shards() if plan is None else plan.shards)
            self.programs = Programs(self.trainer, self.size, plan, own_numbers)
            self.compiled: dict[str, Any] = {}  # by name, filled by the run
        else:
            self.trainer, self.programs, self.compiled = like.trainer, like.programs, like.compiled
        self.hyper = make_hyper(config, self.trainer.action_size)
        self.train_keys, self.eval_keys = self.programs.keys(config.train.seed)
        self.seeds = [config.train.seed + i for i in range(self.size)]

    def bad_updates(self, counts: np.ndarray) -> int:
        """What the counts of the agents, [S] or [], say about the run: one seed that cannot go on ends it."""
        return int(np.max(counts))

    def hyper_after(self, rows: Sequence[Mapping[str, Any]]) -> Hyper:
        """The hyperparameters to train with after the evaluations `rows`."""
        return self.hyper

    def exchange(self, state: TrainState, rows: Sequence[Mapping[str, Any]]) -> TrainState:
        """What the agents have of each other after the evaluations `rows`, the last of which is of now: nothing."""
        return state

    def finished(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the run is over after the evaluations `rows`, though its steps are not."""
        return False
