"""The agents that train side by side in one run: one, or the seeds of a configuration along axis [S].

What a run needs of them: their programs, hyperparameters, keys and seeds. A sweep puts its trials along the same axis
(`sweep.trials`). Knows no files.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sacbrax.agents.hyperparameters import Hyper
from sacbrax.config import Config, ConfigError
from sacbrax.parallel.shards import Shards
from sacbrax.training.plan import Plan
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer


class Population:
    """The seeds `train.seed`, `train.seed` + 1, ... of one configuration.

    plan: the devices and shards that train them; one device and one shard when left out.
    like: a population of a configuration that differs in traced numbers and seeds alone; its programs serve again.
    """

    def __init__(self, config: Config, like: "Population | None" = None, plan: Plan | None = None):
        if plan is None and (config.parallel.devices, config.parallel.processes) != (1, 1):
            raise ConfigError("parallel.devices: must be 1 here, where trials or agents share one device")
        self.config, self.size = config, config.train.num_seeds
        shards = Shards() if plan is None else plan.shards
        self.trainer: Trainer = Trainer(config, shards) if like is None else like.trainer
        self.programs: Programs = Programs(self.trainer, self.size, plan) if like is None else like.programs
        self.compiled: dict[str, Any] = {} if like is None else like.compiled  # by name, filled by the run
        self.hyper = Hyper.create(config, self.trainer.action_size)
        self.train_keys, self.eval_keys = self.programs.keys(config.train.seed)
        self.seeds = [config.train.seed + i for i in range(self.size)]
        self.initial = initial_temperatures(self.trainer, [config], self.size)

    def bad_updates(self, counts: np.ndarray) -> int:
        """What the counts of the agents, [S] or [], say about the run: one seed that cannot go on ends it."""
        return int(np.max(counts))


def initial_temperatures(trainer: Trainer, configs: Sequence[Config], seeds: int) -> dict[str, Any]:
    """For `warm_start.apply`: log temperatures of the agents where the trainer would start them otherwise."""
    own = [config.algorithm.initial_temperature for config in configs]
    if trainer.config.algorithm.name == "sac_v1" or set(own) == {trainer.config.algorithm.initial_temperature}:
        return {}
    logs = jnp.log(jnp.asarray(own, jnp.float32))
    return {"params": {"log_temperature": np.asarray(jnp.repeat(logs, seeds) if len(own) > 1 else logs[0])}}
