"""Videos of the policy during training, drawn by `sacbrax.render` in a process of its own, on the CPU, at low priority.

Training only keeps the snapshot that is drawn. A policy that is due while the one before is still being drawn is left
out. The pictures are in `videos/` of the run directory.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sacbrax.config import Config
from sacbrax.core.errors import RunError, last_line


def start_drawing(policy: Path, outs: Sequence[Path], *, imports: bool) -> subprocess.Popen[str]:
    """Start the program that draws a policy file's episode into `outs`; what it says is on its standard error.

    imports: whether it may import a class outside the package that the file names.
    """
    command = [sys.executable, "-m", "sacbrax.render", str(policy), *(["--import"] * imports), "--out", *map(str, outs)]
    # Our modules and the user's as this process finds them; the accelerator is training's.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        ["nice", *command] if os.name == "posix" else command,
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


class Videos:
    """Draws what it is given; `announce` hears of each file that is done."""

    def __init__(self, config: Config, directory: Path, announce: Callable[[Path, int], None]):
        formats = dict.fromkeys([*config.logging.video_formats, *(["gif"] if config.logging.tensorboard else [])])
        self._directory, self._formats, self._announce = directory / "videos", list(formats), announce
        self._process: subprocess.Popen[str] | None = None

    def policy(self, path: Path, env_steps: int) -> None:
        """Draw the policy file of an evaluation."""
        outs = [self._directory / f"{env_steps:012d}.{kind}" for kind in self._formats]
        self._process = start_drawing(path, outs, imports=True)
        _, errors = self._process.communicate()
        if self._process.returncode:
            last = last_line(errors, f"exit status {self._process.returncode}")
            raise RunError(last.removeprefix("error: "))
        for out in outs:
            self._announce(out, env_steps)

    def abandon(self) -> None:
        """Give up what is under way; called from another thread."""
        if self._process is not None:
            self._process.kill()
