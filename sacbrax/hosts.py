"""Several processes as one run: how they join, agree on what only one can know, and notice that one of them is gone.

Arrays and their sums are `parallel`'s; here are the few small values of the host. Every process runs the same loop, so
each of these functions is called by all of them in the same order. With one process they do nothing.

JAX's own watch takes up to 100 s to see a dead process and then aborts with a stack trace, and until then a sum over
GPUs waits. So each process holds a connection to process 0, which the kernel closes with the process.
"""

import contextlib
import dataclasses
import os
import socket
import struct
import sys
import threading
import time
from typing import Any, NoReturn

import numpy as np

from sacbrax.config import ConfigError, ParallelConfig
from sacbrax.errors import RunError

PATIENCE = 5.0  # seconds that a failed sum is given to turn out as the end of a process
FAREWELL = -1


def join(parallel: ParallelConfig) -> None:
    """Become one of `parallel.processes`; before JAX is used for anything else. Raises `RunError`."""
    if parallel.processes == 1:
        return
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
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
        _Lifeline.start(parallel)
    except Exception as error:  # JAX and its coordination service have no type of their own for this
        raise RunError(f"parallel.processes: the processes did not find each other: {_first_line(error)}") from error


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
    if (line := _Lifeline.of_process) is not None:
        import jax

        wait("part")
        line.farewell()
        jax.distributed.shutdown()


def await_news() -> None:
    """After a failure: if it is that a process is gone, the process ends here with a line that says so."""
    if _Lifeline.of_process is not None:
        time.sleep(PATIENCE)


def joined() -> bool:
    """Whether this process has joined others."""
    return _Lifeline.of_process is not None


def _gathered(value: int) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.int32(value)))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]


@dataclasses.dataclass
class _Peer:
    """A connection and whose it is."""

    index: int
    connection: socket.socket


class _Lifeline:
    """Connections from every process to process 0, each watched by a thread at both ends.

    A message is one integer: the process that is gone, or FAREWELL. A connection that ends without one tells of its
    process's end.
    """

    of_process: "_Lifeline | None" = None

    def __init__(self, peers: list[_Peer], count: int):
        self._peers, self._count, self._lock = peers, count, threading.Lock()
        for peer in peers:
            threading.Thread(target=self._watch, args=(peer,), name="lifeline", daemon=True).start()

    @classmethod
    def start(cls, parallel: ParallelConfig) -> None:
        """Connect all processes, which have joined."""
        import jax

        index, count = jax.process_index(), jax.process_count()
        if count == 1:
            return
        listener = socket.create_server(("", 0), backlog=count) if index == 0 else None
        named = parallel.coordinator.rpartition(":")[0] if parallel.coordinator else socket.gethostname()
        address = socket.gethostbyname(named) if listener else ""
        place = agree_text(f"{address}:{listener.getsockname()[1]}" if listener else "")
        if listener:
            listener.settimeout(parallel.join_seconds)
            peers: list[_Peer] = []
            while len(peers) < count - 1:
                connection = listener.accept()[0]
                peers.append(_Peer(_receive(connection) or 0, connection))
            listener.close()
        else:
            host, _, port = place.rpartition(":")
            connection = socket.create_connection((host, int(port)), parallel.join_seconds)
            connection.sendall(struct.pack("!i", index))
            peers = [_Peer(0, connection)]
        for peer in peers:  # a machine that is switched off closes nothing
            peer.connection.settimeout(None)
            peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
                if hasattr(socket, name):
                    peer.connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        cls.of_process = cls(peers, count)

    def farewell(self) -> None:
        """Leave without being missed."""
        for peer in self._peers:
            _send(peer, FAREWELL)

    def _watch(self, peer: _Peer) -> None:
        message = _receive(peer.connection)
        if message != FAREWELL:
            self._end(peer.index if message is None else message)

    def _end(self, gone: int) -> NoReturn:
        with self._lock:  # never released: one line is enough
            for peer in self._peers:
                _send(peer, gone)
            sys.stdout.flush()
            print(
                f"error: process {gone} of {self._count} is gone; start all of them again, or any other number, "
                "and the run goes on from its last checkpoint",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)


def _send(peer: _Peer, message: int) -> None:
    with contextlib.suppress(OSError):  # it is gone itself
        peer.connection.sendall(struct.pack("!i", message))


def _receive(connection: socket.socket) -> int | None:
    """One message; None when the connection has ended."""
    data = b""
    while len(data) < 4:
        try:
            part = connection.recv(4 - len(data))
        except OSError:
            return None
        if not part:
            return None
        data += part
    return int(struct.unpack("!i", data)[0])


def check(parallel: ParallelConfig, run_dir: Any) -> None:
    """Raise `ConfigError` for what several processes need and do not have."""
    if parallel.processes == 1:
        return
    if not joined():
        raise ConfigError("parallel.processes: call sacbrax.hosts.join(config.parallel) before JAX is used")
    if run_dir is None:
        raise ConfigError("run.dir: must be given with parallel.processes, a directory that all of them share")
