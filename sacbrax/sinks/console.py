"""Lines for the person who waits for a run. Host side only; takes plain numbers."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live

from sacbrax.core.streams import standard_error
from sacbrax.sinks.status_line import StatusLine, wrapped

WORTH_A_LINE = 1.0  # seconds: a program compiled sooner is not spoken of by itself


class Reporter:
    """Lines for the person who waits: with a line at the bottom of a terminal that moves, plain lines elsewhere."""

    def __init__(self, total_env_steps: int, quiet: bool = False):
        self._quiet = quiet
        self._console = Console(file=standard_error(), highlight=False)
        self._status = StatusLine(total_env_steps)
        self._live: Live | None = None
        if not quiet and self._console.is_terminal:
            self._live = Live(self._status, console=self._console, refresh_per_second=4)
            self._live.start()

    def say(self, line: str) -> None:
        """One line of news."""
        if not self._quiet:
            self._print(line)

    def warn(self, line: str) -> None:
        """One line that is shown even to who wants quiet."""
        self._print(f"warning: {line}")

    @contextlib.contextmanager
    def tolerate(self, what: str) -> Iterator[None]:
        """A disk's refusal to take `what` becomes a warning."""
        try:
            yield
        except OSError as error:
            self.warn(f"{what} could not be written: {error.strerror}; training goes on")

    def at(self, activity: str) -> None:
        """What the run is at, for the line that moves."""
        self._status.at(activity)

    @contextlib.contextmanager
    def compiling(self, names: Sequence[str]) -> Iterator[Callable[[str], None]]:
        """While the block compiles these programs side by side; what it gives is called with each that is done, from
        whatever thread."""
        left, begin = list(names), time.perf_counter()

        def done(name: str) -> None:
            left.remove(name)
            self.at(f"compiling {', '.join(left)}")
            if (seconds := time.perf_counter() - begin) >= WORTH_A_LINE:
                self.say(f"compiled {name} after {seconds:.1f} s")

        self.at(f"compiling {', '.join(left)}")
        if names and self._live is None:
            self.say(f"compiling {', '.join(left)} ...")
        yield done

    def progress(self, env_steps: int, memory: Callable[[], str]) -> None:
        """Training got so far; `memory` says what is in use."""
        if self._live is not None:
            self._status.progress(env_steps, memory())

    def evaluation(self, metrics: Mapping[str, Any]) -> None:
        """Show one evaluation, without its rates on a terminal that has no room for them."""
        metrics = {key: math.nan if value is None else value for key, value in metrics.items()}
        returned = f"return {metrics['eval/return_mean']:7.1f} ± {metrics['eval/return_std']:.1f}"
        self._status.status = " ".join(returned.split())
        line = (
            f"{metrics['wall_seconds']:7.1f} s  {metrics['env_steps']:>12,} env steps  "
            f"{metrics['gradient_steps']:>9,} updates  {returned}"
        )
        rates = (
            f"  {metrics['time/env_steps_per_second']:,.0f} env steps/s"
            f"  {metrics['time/gradient_steps_per_second']:,.0f} updates/s"
        )
        whole = line + rates
        self.say(whole if self._live is None or len(whole) <= self._console.width else line)

    def close(self) -> None:
        """Take the line that moves down."""
        if self._live is not None:
            self._status.at("")
            self._live.stop()

    def _print(self, line: str) -> None:
        lines = wrapped(line, self._console.width) if self._console.is_terminal else [line]
        self._console.print("\n".join(lines), soft_wrap=True, markup=False)
