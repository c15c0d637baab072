"""An episode of a run's newest policy as a page, drawn by `sacbrax.render` in a process of its own, on the CPU.

Pages are kept in a temporary directory until the policy changes; nothing is written into a run. A class outside the
package that a run names is not imported.
"""

import subprocess
import tempfile
import threading
from pathlib import Path

from sacbrax.core.errors import RunError, last_line
from sacbrax.policy_file.files import BEST
from sacbrax.sinks.videos import start_drawing

LONGEST_SECONDS = 900  # the program that steps an episode may take minutes to compile


class Episodes:
    """One page for each run; one is drawn at a time."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sacbrax-watch-")
        self._lock = threading.Lock()
        self._pages: dict[tuple[Path, int], bytes] = {}  # policy file and when it was written
        self._process: subprocess.Popen[str] | None = None

    def page(self, run: Path) -> bytes:
        """The player with an episode. Raises RunError where there is none."""
        policy, written = newest_policy(run)
        with self._lock:
            if (policy, written) not in self._pages:
                self._pages = {key: page for key, page in self._pages.items() if key[0] != policy}
                self._pages[policy, written] = self._draw(policy)
            return self._pages[policy, written]

    def close(self) -> None:
        """End what is being drawn and remove what was."""
        if self._process is not None:
            self._process.kill()
        self._folder.cleanup()

    def _draw(self, policy: Path) -> bytes:
        out = Path(self._folder.name) / "episode.html"
        self._process = start_drawing(policy, [out], imports=False)
        try:
            _, errors = self._process.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise RunError(f"the episode was not done after {LONGEST_SECONDS} s") from None
        if self._process.returncode:
            raise RunError(last_line(errors, f"exit status {self._process.returncode}").removeprefix("error: "))
        return out.read_bytes()


def newest_policy(run: Path) -> tuple[Path, int]:
    """The policy file that was written last, and when [ns]. Raises RunError where there is none."""
    found = [run / "checkpoints" / BEST, *(run / "checkpoints").glob("snapshot_*.npz")]
    written = [(path.stat().st_mtime_ns, path) for path in found if path.is_file()]
    if not written:
        raise RunError("there is no policy yet")
    moment, path = max(written)
    return path, moment
