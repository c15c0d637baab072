"""Connections between the processes of a run: how they find each other, and notice that one of them is gone.

JAX's own service aborts a process whose peers do not come. It takes up to 100 s to see a dead one and then aborts with
a stack trace; until then a sum over GPUs waits. So each process holds a connection to process 0, which the kernel
closes with the process. Knows sockets, no JAX.
"""

import contextlib
import dataclasses
import os
import select
import socket
import struct
import sys
import threading
import time
from typing import NoReturn

from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError

HELLO = struct.Struct("!4sii")  # MAGIC, number of the process, how many it was started for
VERDICT = struct.Struct("!ii")  # place in VERDICTS, length of the line that follows
NUMBER = struct.Struct("!i")  # the process that is gone, or FAREWELL
MAGIC = b"sacb"
FAREWELL = -1
VERDICTS: tuple[type[Exception] | None, ...] = (None, RunError, ConfigError)
PATIENCE = 5.0  # seconds for what takes no time unless something is wrong


@dataclasses.dataclass
class Peer:
    """A connection and whose it is."""

    index: int
    connection: socket.socket


def listen(port: int) -> socket.socket:
    """Where process 0 awaits the others; port 0 is any free one. Raises `ConfigError`."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, backlog=128, dualstack_ipv6=both)
    except OSError as error:
        raise ConfigError(f"parallel.coordinator: process 0 cannot listen on port {port}: {error.strerror}") from error


def gather(listener: socket.socket, count: int, seconds: float) -> list[Peer]:
    """In process 0: the connections of the `count - 1` others, all told that they are there; closes `listener`.

    Raises, here and in all of them, `RunError` that says who did not come within `seconds`, or `ConfigError` when their
    numbers do not fit together.
    """
    deadline = time.monotonic() + seconds
    everyone: list[socket.socket] = []
    found: dict[int, socket.socket] = {}
    error: Exception | None = None
    with listener:
        while error is None and (left := deadline - time.monotonic()) > 0:
            found = {index: connection for index, connection in found.items() if _open(connection)}
            if len(found) == count - 1:
                break
            listener.settimeout(left)
            try:
                connection = listener.accept()[0]
            except TimeoutError:
                break
            connection.settimeout(PATIENCE)
            hello = _receive(connection, HELLO.size)
            if hello is None or not hello.startswith(MAGIC):
                connection.close()  # whoever that was
                continue
            _, index, theirs = HELLO.unpack(hello)
            everyone.append(connection)
            if theirs != count:
                error = ConfigError(f"parallel.processes: {theirs} in process {index}, {count} in process 0")
            elif index == 0 or (index in found and _open(found[index])):
                error = ConfigError(f"parallel.process: two processes have number {index}")
            found[index] = connection  # where another was, that process died and was started anew
    missing = [index for index in range(1, count) if index not in found]
    if missing and error is None:
        error = RunError(f"parallel.processes: {_absent(missing, count, seconds)}")
    line = str(error or "").encode()
    for connection in everyone:
        _send(connection, VERDICT.pack(VERDICTS.index(type(error) if error else None), len(line)) + line)
        if error is not None or connection not in found.values():
            connection.close()
    if error is not None:
        raise error
    return [Peer(index, _kept(connection)) for index, connection in found.items()]


def report(address: str, index: int, count: int, seconds: float) -> list[Peer]:
    """In process `index`: the connection to process 0 at `address`, once all are there. Raises as `gather` does."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), max(0.1, deadline - time.monotonic()))
            break
        except OSError as error:
            if time.monotonic() >= deadline:
                raise RunError(f"parallel.processes: {_absent([0], count, seconds)}: {address}: {error}") from error
            time.sleep(0.2)
    connection.settimeout(seconds + PATIENCE)  # process 0 has been waiting since before this moment
    _send(connection, HELLO.pack(MAGIC, index, count))
    head = _receive(connection, VERDICT.size)
    kind, length = VERDICT.unpack(head) if head else (1, 0)
    if (error_type := VERDICTS[kind]) is not None:
        line = _receive(connection, length) if length else b""
        connection.close()
        unheard = f"parallel.processes: process 0 at {address} is gone, or began without this one"
        raise error_type(line.decode() if line else unheard)
    return [Peer(0, _kept(connection))]


def _kept(connection: socket.socket) -> socket.socket:
    """The connection, to last; TCP asks now and then, for a machine that is switched off closes nothing."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _absent(missing: list[int], count: int, seconds: float) -> str:
    who = f"process {missing[0]}" if len(missing) == 1 else f"processes {', '.join(map(str, missing))}"
    return f"{who} of {count} did not come within {seconds:g} s"


class Watch:
    """Connections from every process to process 0, each watched by a thread at both ends.

    A message is one number. A connection that ends without one tells of its process's end.
    """

    of_process: "Watch | None" = None

    def __init__(self, peers: list[Peer], count: int):
        self._peers, self._count, self._lock = peers, count, threading.Lock()
        for peer in peers:
            threading.Thread(target=self._watch, args=(peer,), name="lifeline", daemon=True).start()

    def farewell(self) -> None:
        """Leave without being missed."""
        for peer in self._peers:
            _send(peer.connection, NUMBER.pack(FAREWELL))

    def _watch(self, peer: Peer) -> None:
        message = _receive(peer.connection, NUMBER.size)
        gone = NUMBER.unpack(message)[0] if message else peer.index
        if gone != FAREWELL:
            self._end(gone)

    def _end(self, gone: int) -> NoReturn:
        with self._lock:  # never released: one line is enough
            for peer in self._peers:
                _send(peer.connection, NUMBER.pack(gone))
            sys.stdout.flush()
            print(
                f"error: process {gone} of {self._count} is gone; start all of them again, or any other number, "
                "and the run goes on from its last checkpoint",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)


def _open(connection: socket.socket) -> bool:
    """Whether the other end is still there; nothing is expected from it, so what there is to read is the end."""
    return not select.select([connection], [], [], 0)[0]


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # it is gone itself
        connection.sendall(data)


def _receive(connection: socket.socket, size: int) -> bytes | None:
    """`size` bytes; None when the connection ends before."""
    data = b""
    while len(data) < size:
        try:
            part = connection.recv(size - len(data))
        except OSError:
            return None
        if not part:
            return None
        data += part
    return data
