"""The algorithm that a configuration names. A new one is one new file and one line in `config.named.ALGORITHMS`."""

from typing import Any

import jax

from sacbrax.agents.agent import Agent
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.config import Config
from sacbrax.config.named import ALGORITHMS, imported
from sacbrax.parallel.shards import Shards


def make_agent(
    config: Config,
    observation_size: int,
    action_size: int,
    shards: Shards = Shards(),
    actor_inputs: int | None = None,
) -> Agent:
    """The algorithm that `algorithm.name` names. Its policy sees the first `actor_inputs` entries of an observation, or
    all; critics and state value see all."""
    return _algorithm(config)(config, (observation_size, action_size), shards, actor_inputs)


def make_hyper(config: Config, action_size: int) -> Hyper:
    """The traced numbers of a configuration, nulls resolved. Raises `ConfigError` for what no such agent can have."""
    algorithm = _algorithm(config)
    algorithm.check(config, action_size)
    return algorithm.hyper(config, action_size)


def hyper_structure(config: Config) -> Any:
    """The tree that those numbers are the leaves of, whatever they are."""
    return jax.tree.structure(_algorithm(config).hyper(config, 1))


def _algorithm(config: Config) -> Any:
    return imported(ALGORITHMS[config.algorithm.name])
