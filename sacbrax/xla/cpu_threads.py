"""How many threads XLA computes with on a CPU.

A second one costs more than it gives where arrays are small: its work is handed out kernel by kernel. Larger products
and many environments gain from all cores. The figures are in docs/performance.md, "One thread on a CPU".

Knows no JAX, for a client reads the number when it is made.
"""

import contextlib
import os
from collections.abc import Iterator

from sacbrax.config import Config

VARIABLE = "NPROC"  # XLA's own name of it
LARGE = 2**15  # rows of a minibatch times units of a layer, from which on products gain from several threads
MANY = 512  # environments, likewise


def threads(config: Config, engine: str) -> int | None:
    """What `parallel.threads` means; None: as many as there are cores. engine: the task's."""
    if config.parallel.threads is not None:
        return config.parallel.threads
    width = max((*config.network.actor_sizes, *config.network.critic_sizes))
    seeds, few = config.train.num_seeds, config.train.num_seeds * config.env.num_envs < MANY
    small = seeds * config.train.batch_size * width < LARGE
    return 1 if small and few and engine == "fused" else None


@contextlib.contextmanager
def client_with(count: int | None) -> Iterator[None]:
    """JAX's CPU client, if it is made herein, has so many threads. A number in the environment wins; processes that are
    started later inherit nothing of this."""
    if count is None or VARIABLE in os.environ:
        yield
        return
    os.environ[VARIABLE] = str(count)
    try:
        yield
    finally:
        del os.environ[VARIABLE]
