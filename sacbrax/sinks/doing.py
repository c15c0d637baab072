"""What a command is at, for the person who waits for it. Standard error alone; what is printed there ends nothing."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """While the block runs a terminal shows `what` and the time so far, and afterwards how long it took; elsewhere one
    line says that it begins."""
    console = Console(file=sys.stderr, highlight=False)
    if not console.is_terminal:
        with contextlib.suppress(OSError, ValueError):  # nobody listens, or the stream is closed
            print(f"{what} ...", file=sys.stderr, flush=True)
        yield
        return
    begin = time.perf_counter()
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield
    console.print(f"{what}: {time.perf_counter() - begin:.1f} s", soft_wrap=True, markup=False)
