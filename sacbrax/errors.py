"""Failures that a user reads as one line, beside `ConfigError`. No logic."""


class RunError(RuntimeError):
    """The run cannot go on or cannot be saved, for a reason outside the configuration; one line for the user."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))  # names from a damaged file may hold line breaks


class Interrupted(BaseException):
    """A signal ended the process before there was anything to save, or a second one did not wait for the saving."""

    def __init__(self, signal_number: int):
        super().__init__(f"interrupted by signal {signal_number}")
        self.signal = signal_number
