"""Signals: the first SIGINT or SIGTERM asks the run to save and end, a second one ends it at once.

Knows no run: what it asked for is done where the run looks.
"""

import signal
import threading
from types import FrameType
from typing import Any

from sacbrax.core.errors import Interrupted


class Interrupt:
    """A context that remembers the first signal. Outside the main thread it does nothing: Python allows no handlers.

    `saves` is False while there is nothing to save (the run compiles); a signal then ends it at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.saves = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None or not self.saves:
            raise Interrupted(number)
        self.signal = number

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
