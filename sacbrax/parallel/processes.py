"""Several processes as one run: how they join, and agree on what only one can know.

Arrays and their sums are `training.programs`'; here are the few small values of the host. Every process runs the same
loop, so each of these functions is called by all of them in the same order. With one process they do nothing. The
connections that tell when a process is gone are `watch`'s.
"""

import socket
import time
from typing import Any

import numpy as np

from sacbrax.config import ConfigError, ParallelConfig
from sacbrax.core.errors import RunError, one_line
from sacbrax.parallel.watch import Watch, gather, listen, report

PATIENCE = 5.0  # seconds that a failed sum is given to turn out as the end of a process


def join(parallel: ParallelConfig) -> None:
    """Become one of `parallel.processes`; before JAX is used for anything else. Raises `RunError` or `ConfigError`.

    Of given processes all are there before JAX looks for them, at the address that JAX then takes over.
    """
    if parallel.processes == 1:
        return
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if parallel.processes != "cluster":
        _hold(str(parallel.coordinator), parallel.process, int(parallel.processes), parallel.join_seconds)
    try:
        if parallel.processes == "cluster":
            jax.distributed.initialize(initialization_timeout=parallel.join_seconds)
        else:
            jax.distributed.initialize(
                parallel.coordinator,
                int(parallel.processes),
                parallel.process,
                cluster_detection_method="deactivate",
                initialization_timeout=parallel.join_seconds,
            )
    except Exception as error:  # JAX and its coordination service have no type of their own for this
        raise RunError(f"parallel.processes: the processes did not find each other: {one_line(error)}") from error
    if parallel.processes == "cluster":
        _hold(None, jax.process_index(), jax.process_count(), parallel.join_seconds)


def _hold(address: str | None, index: int, count: int, seconds: float) -> None:
    """Connect with process 0 at `address`, or where it says through JAX, for the life of the process."""
    if count == 1:
        return
    listener = listen(int(address.rpartition(":")[2]) if address else 0) if index == 0 else None
    if address is None:
        own = f"{socket.gethostbyname(socket.gethostname())}:{listener.getsockname()[1]}" if listener else ""
        address = agree_text(own)
    peers = gather(listener, count, seconds) if listener else report(address, index, count, seconds)
    Watch.of_process = Watch(peers, count)


def first() -> bool:
    """Whether this is process 0, which writes the log."""
    import jax

    return jax.process_index() == 0


def several() -> bool:
    """Whether there is more than one process."""
    import jax

    return jax.process_count() > 1


def agree(value: int) -> int:
    """Process 0's value, in all."""
    return int(_gathered(value)[0]) if several() else value


def agree_text(text: str) -> str:
    """Process 0's text, in all."""
    if not several():
        return text
    from jax.experimental import multihost_utils

    data = np.frombuffer(text.encode(), np.uint8)
    size = agree(len(data))
    padded = np.zeros(size, np.uint8)
    padded[: min(size, len(data))] = data[:size]
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))).decode() if size else ""


def largest(value: int) -> int:
    """The largest value of all processes, in all."""
    return int(_gathered(value).max()) if several() else value


def wait(place: str) -> None:
    """Until all processes are here."""
    if several():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(place)


def part() -> None:
    """The run is over for all: who ends now is not missed."""
    if (line := Watch.of_process) is not None:
        import jax

        wait("part")
        line.farewell()
        jax.distributed.shutdown()


def await_news() -> None:
    """After a failure: if it is that a process is gone, the process ends here with a line that says so."""
    if Watch.of_process is not None:
        time.sleep(PATIENCE)


def joined() -> bool:
    """Whether this process has joined others."""
    return Watch.of_process is not None


def _gathered(value: int) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.int32(value)))


def check(parallel: ParallelConfig, run_dir: Any) -> None:
    """Raise `ConfigError` for what several processes need and do not have."""
    if parallel.processes == 1:
        return
    import jax

    if not joined() and not jax.distributed.is_initialized():  # a cluster may be of one process, which holds no other
        raise ConfigError("parallel.processes: call sacbrax.hosts.join(config.parallel) before JAX is used")
    if run_dir is None:
        raise ConfigError("run.dir: must be given with parallel.processes, a directory that all of them share")
