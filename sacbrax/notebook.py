"""For notebooks: train in a process of its own while the curve grows on the page, and watch an episode there.

The process leaves the notebook free and takes its stop button as a wish to save and end.
"""

import html
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacbrax import curves, player
from sacbrax.config import ConfigError
from sacbrax.episode import play
from sacbrax.errors import RunError
from sacbrax.figures import load_matplotlib
from sacbrax.policy_file import load_policy


def train(config: str, run_dir: str | Path, overrides: Sequence[str] = (), every: float = 5.0) -> Path:
    """`python -m sacbrax.train CONFIG run.dir=RUN_DIR ...`, the curve redrawn every `every` seconds; goes on with a run
    that is already there. Returns `run_dir`. Raises RunError with the command's own words when it fails."""
    from IPython.display import display

    command = [sys.executable, "-m", "sacbrax.train", config, f"run.dir={run_dir}", *overrides]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True)
        handle = display(_Words("starting, compiling"), display_id=True)
        try:
            while process.poll() is None:
                _wait(process, every)
                _show(run_dir, handle)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
        log.seek(0)
        lines = log.read().strip().splitlines()
    if process.returncode not in (0, 128 + signal.SIGINT):
        raise RunError(lines[-1] if lines else f"training ended with status {process.returncode}")
    print(lines[-1])
    return Path(run_dir)


def watch(source: str | Path, height: int = 720, **options: Any) -> Any:
    """An episode of a run, a policy file or a pretrained name, to be played in the page; `options` go to `play`."""
    from IPython.display import HTML

    page = player.page(play(load_policy(source), **options), str(source))
    return HTML(f'<iframe srcdoc="{html.escape(page)}" width="100%" height="{height}" frameborder="0"></iframe>')


def _show(run_dir: str | Path, handle: Any) -> None:
    """Draw the curve as it is now."""
    try:
        found = curves.gather([run_dir])
    except ConfigError:
        return  # nothing yet
    plt = load_matplotlib()
    figure = curves.draw(plt, found)
    handle.update(figure)
    plt.close(figure)


def _wait(process: Any, seconds: float) -> None:
    """Until the process ends, at most `seconds`."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


class _Words:
    """What stands in the place of a figure that is not there yet."""

    def __init__(self, text: str):
        self._text = text

    def __repr__(self) -> str:
        return self._text
