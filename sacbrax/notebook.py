"""For notebooks: train in a process of its own while the curve grows on the page, and watch an episode there.

The process leaves the notebook free and takes its stop button as a wish to save and end.
"""

import html
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError, last_line
from sacbrax.policy_file.files import load_policy
from sacbrax.view import curves, episode_page
from sacbrax.view.episode import play
from sacbrax.view.figures import load_matplotlib


def train(config: str, run_dir: str | Path, overrides: Sequence[str] = (), every: float = 5.0) -> Path:
    """`python -m sacbrax.train CONFIG run.dir=RUN_DIR ...`, the curve redrawn every `every` seconds; goes on with a run
    that is already there. Returns `run_dir`. Raises RunError with the command's own words when it fails."""
    from IPython.display import display

    load_matplotlib()
    command = [sys.executable, "-m", "sacbrax.train", config, f"run.dir={run_dir}", *overrides]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        # Jupyter's kernels ask for colours, with which a progress bar would be drawn into the log.
        environment = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"}
        # In a group of its own: Jupyter interrupts the kernel's, and a second signal would end training unsaved.
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment, process_group=0)
        handle = display(_Words("starting, compiling"), display_id=True)
        try:
            while process.poll() is None:
                _wait(process, every)
                _show(run_dir, handle)
        except BaseException as error:  # whatever it is, nobody would see to the process any more
            process.send_signal(signal.SIGINT)
            process.wait()
            if not isinstance(error, KeyboardInterrupt):
                raise
        log.seek(0)
        last = last_line(log.read(), f"training ended with status {process.returncode}")
    if process.returncode not in (0, 128 + signal.SIGINT):
        raise RunError(last)
    print(last)
    return Path(run_dir)


def watch(source: str | Path, height: int = 880, **options: Any) -> Any:
    """An episode of a run, a policy file or a pretrained name, to be played in the page; `options` go to `play`."""
    page = episode_page.page(play(load_policy(source), **options), str(source))
    return _Page(f'<iframe srcdoc="{html.escape(page)}" width="100%" height="{height}" frameborder="0"></iframe>')


def _show(run_dir: str | Path, handle: Any) -> None:
    """Draw the curve as it is now."""
    try:
        found = curves.gather([run_dir])
    except ConfigError:
        return  # nothing yet
    from IPython.display import Image

    plt, picture = load_matplotlib(), io.BytesIO()
    figure = curves.draw(plt, found)
    figure.savefig(picture, format="png", dpi=100)
    plt.close(figure)
    handle.update(Image(data=picture.getvalue(), format="png"))


def _wait(process: Any, seconds: float) -> None:
    """Until the process ends, at most `seconds`."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


class _Page:
    """What the notebook shows as HTML. IPython's own class warns of iframes, and its IFrame takes an address alone."""

    def __init__(self, text: str):
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


class _Words:
    """What stands in the place of a figure that is not there yet."""

    def __init__(self, text: str):
        self._text = text

    def __repr__(self) -> str:
        return self._text
