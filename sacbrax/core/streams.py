"""Words for a person never end the work: a stream that takes none, as a pipe whose reader is gone, loses them silently.

For standard error alone. What goes to standard output is a result, and its loss is an error.
"""

import contextlib
import os
import sys
from typing import Any, TextIO, cast


class Patient:
    """`stream` without its failures; None, which a closed standard error is, takes nothing."""

    def __init__(self, stream: TextIO | None):
        self._stream: Any = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process

    def write(self, text: str) -> int:
        """Take `text`; what it refuses is lost."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As far as it can."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # encoding, isatty, fileno, ...
        return getattr(self._stream, name)


def standard_error() -> TextIO:
    """Standard error as it is now, patient."""
    return cast(TextIO, Patient(sys.stderr))


def one_place() -> bool:
    """Whether standard output and standard error go to the same terminal, file or pipe."""
    try:
        return os.path.samestat(os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno()))
    except (OSError, ValueError, AttributeError):  # one is closed, or no file
        return False
