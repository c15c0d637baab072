"""Signals that ask a process to end: a run saves first, whoever has nothing to save ends at once, in one line.

A handler of Python's runs when the main thread comes back to Python, which may be inside a callback of JAX's garbage
collection that swallows every exception, or half a minute of compilation later. So a command's signals are heard by a
thread (`watch`), through a pipe that the kernel's own handler writes to, and nothing is raised. Knows no run: what a
signal asks for is done where the run looks.
"""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, ClassVar, NoReturn

from sacbrax.core.errors import Interrupted

# Ctrl-C, the system's shutdown, a closed terminal, and what cluster schedulers send some time before the end.
NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
SHOW_CURSOR = "\n\x1b[?25h"  # which a progress bar hides


class Interrupt:
    """A context whose `signal` is the first that came: who sets `saves` promises to look at it and to save.

    While `saves` is False a signal ends the process, and a second one does so always: at once in a command that
    watches, elsewhere as `Interrupted`, raised in the main thread. With `raises` it is always that, for code that
    waits for a process of its own and ends it on the way out. Outside the main thread Python allows no handlers, and
    the context does nothing.
    """

    innermost: ClassVar["Interrupt | None"] = None
    watched: ClassVar[bool] = False

    def __init__(self, raises: bool = False) -> None:
        self.signal: int | None = None
        self.saves = False
        self.raises = raises
        self._outer: Interrupt | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = _install()
            self._outer, Interrupt.innermost = Interrupt.innermost, self
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous:
            Interrupt.innermost = self._outer
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def note(self, number: int) -> bool:
        """Remember the first signal; whether this is it and somebody looks."""
        first = self.signal is None
        self.signal = self.signal or number
        return first and (self.saves or self.raises)


def watch() -> None:
    """For a command, as the first thing it does: from now on to its end a signal is one line and status 128 + number,
    and what there is to save is saved."""
    if not Interrupt.watched:
        Interrupt.watched = True
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
        threading.Thread(target=_listen, args=(reads,), name="signals", daemon=True).start()
    _install()


def _install() -> dict[int, Any]:
    """Hear the signals; returns what was done with them before. `nohup` stays what it is."""
    wanted = [n for n in NUMBERS if n == signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]
    return {number: signal.signal(number, _handle) for number in wanted}


def _handle(number: int, frame: FrameType | None) -> None:
    """In the main thread, when that is at Python again."""
    context = Interrupt.innermost
    if Interrupt.watched and (context is None or not context.raises):
        return  # the watching thread has seen to it
    if context is not None and (not context.note(number) or context.raises):
        raise Interrupted(number)


def _listen(pipe: int) -> None:
    while True:
        (number,) = os.read(pipe, 1)
        context = Interrupt.innermost
        if context is not None and context.raises:
            continue  # the handler in the main thread sees to it
        if number in NUMBERS and (context is None or not context.note(number)):
            again = context is not None and context.saves
            _end(number, "again, not saved" if again else "before there was anything to save" if context else "")


def _end(number: int, when: str) -> NoReturn:
    with contextlib.suppress(OSError):
        cursor = SHOW_CURSOR if os.isatty(2) else ""
        line = f"interrupted by {signal.Signals(number).name} {when}".rstrip()
        os.write(2, f"{cursor}{line}\n".encode())
    os._exit(128 + number)
