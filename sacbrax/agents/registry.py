"""Algorithms by name. A new one is one new file and one line in `ALGORITHMS`."""

from typing import Any

from sacbrax.agents.sac_v1 import SACv1
from sacbrax.agents.sac_v2 import SACv2
from sacbrax.config import Config
from sacbrax.parallel.shards import Shards

ALGORITHMS: dict[str, type] = {"sac_v1": SACv1, "sac_v2": SACv2}


def make_agent(
    config: Config,
    observation_size: int,
    action_size: int,
    shards: Shards = Shards(),
    actor_inputs: int | None = None,
) -> Any:
    """The algorithm that `algorithm.name` names. Its policy sees the first `actor_inputs` entries of an observation, or
    all; critics and state value see all."""
    return ALGORITHMS[config.algorithm.name](config, (observation_size, action_size), shards, actor_inputs)
