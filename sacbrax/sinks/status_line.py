"""The line at the bottom of a terminal that says where a run is, and text cut to a terminal's width."""

import textwrap
import time
from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleOptions
from rich.text import Text

SHORTEST_BAR, LONGEST_BAR = 10, 40


class StatusLine:
    """One line however narrow the terminal is: what does not fit is left out, the least important first."""

    def __init__(self, total_env_steps: int, clock: Callable[[], float] = time.monotonic):
        self.status = ""
        self._total, self._clock = max(total_env_steps, 1), clock
        self._began = self._since = clock()
        self._activity, self._memory = "starting", ""
        self._done: int | None = None  # env steps; None before training
        self._first = (0, 0.0)  # env steps and time of the first progress, from which the rest is foreseen

    def at(self, activity: str) -> None:
        """What is done now, if anything; until there is progress the line counts its seconds."""
        if self._activity.partition(" ")[0] != activity.partition(" ")[0]:
            self._since = self._clock()
        self._activity = activity

    def progress(self, env_steps: int, memory: str) -> None:
        """Training got so far."""
        if self._done is None:
            self._first = env_steps, self._clock()
        self._done, self._memory = min(env_steps, self._total), memory

    def parts(self, width: int) -> list[tuple[str, str]]:
        """Pieces of text and their styles, together at most `width` characters where the counter fits at all."""
        if not self._activity:
            return []
        if self._done is None:
            return [(f"{self._activity}  {self._clock() - self._since:.0f} s", "")]
        counter = f"{self._done:,}/{self._total:,} env steps"
        pieces = [counter, _clock_time(self._clock() - self._began), self._left(), self.status, self._memory]
        pieces = [piece for piece in pieces if piece]
        while len(pieces) > 1 and width < len(self._text(pieces)) + SHORTEST_BAR + 1:
            pieces.pop()
        text = self._text(pieces)
        length = max(0, min(LONGEST_BAR, width - len(text) - 1))
        full = length * self._done // self._total
        bar = [("━" * full, "bar.complete"), ("━" * (length - full), "bar.back"), (" ", "")] if length else []
        return [*bar, (text, "")]

    def _text(self, pieces: list[str]) -> str:
        return "  ".join([*pieces, self._activity])

    def _left(self) -> str:
        """The time that the rest will take at the speed so far."""
        steps, begin = self._first
        if self._done is None or self._done <= steps:
            return ""
        return f"{_clock_time((self._total - self._done) * (self._clock() - begin) / (self._done - steps))} left"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        parts = self.parts(options.max_width)
        if parts:
            plain = [(text.replace("━", "-") if options.ascii_only else text, style) for text, style in parts]
            yield Text.assemble(*plain, no_wrap=True, overflow="ellipsis")


def wrapped(line: str, width: int) -> list[str]:
    """A line cut between its words; a word that is longer than `width`, as a path may be, stays whole."""
    return textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) or [""]


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"
