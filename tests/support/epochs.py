"""A whole epoch by the loop that a run calls."""

from typing import Any

import jax
import numpy as np

from sacbrax.config import Config
from sacbrax.training.programs import Programs


def epoch(config: Config, programs: Programs, state: Any, hyper: Any) -> tuple[Any, dict[str, Any]]:
    """The state after `config.iterations_per_epoch` vector steps, and the log's averages over them."""
    rounds = np.int32(config.iterations_per_epoch // config.iterations_per_round)
    state, sums = programs.advance(state, programs.zero_sums(state), hyper, rounds)
    return state, jax.device_get(sums).averages()
