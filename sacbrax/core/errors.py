"""Failures that a user reads as one line, and how any other failure becomes one."""


def one_line(error: BaseException, longest: int | None = 300) -> str:
    """What went wrong: the first line of the error's text, at most `longest` characters, or its type where it has none.

    Other libraries' errors may be pages long; None leaves the line whole, for those that are known to be short.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:  # without its number
        text = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:longest]


def last_line(text: str, otherwise: str) -> str:
    """What a program that failed said last, where a traceback has its error; `otherwise` if it said nothing."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else otherwise


class ConfigError(ValueError):
    """A mistake in the configuration or the arguments; the message is one line for the user."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))  # what was typed may hold line breaks of any alphabet


class RunError(RuntimeError):
    """The run cannot go on or cannot be saved, for a reason outside the configuration; one line for the user."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))  # names from a damaged file may hold line breaks


class MachineError(ConfigError):
    """What the configuration names cannot be had here as things are, such as a directory to write to: a mistake too,
    but not one of the settings that a run is trained with, which may go well another time."""


class TrainingError(RunError):
    """Training with these settings has come to an end, and would again."""


class Interrupted(BaseException):
    """A signal ended the process before there was anything to save, or a second one did not wait for the saving."""

    def __init__(self, signal_number: int):
        super().__init__(f"interrupted by signal {signal_number}")
        self.signal = signal_number
