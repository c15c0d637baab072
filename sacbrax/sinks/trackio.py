"""Trackio: every evaluation with the environment steps as the step, the configuration, and videos.

It writes to a database in the user's cache directory, which `trackio show` shows; `TRACKIO_SPACE_ID` or
`TRACKIO_SERVER_URL`, its own variables, send it elsewhere.
"""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trackio
import trackio.run
import trackio.utils

from sacbrax.config import Config, flat
from sacbrax.sinks import Row, Service
from sacbrax.sinks.kept import Kept

for module in (trackio, trackio.run, trackio.utils):  # what they print is for notebooks, and there is no switch for it
    vars(module)["print"] = lambda *_, **__: None


class Trackio(Service):
    """One run there for one run directory, also when it goes on."""

    def __init__(self, config: Config, directory: Path, rows: Sequence[Row]):
        self._kept = Kept(directory, "trackio", rows)
        # A name is all that it knows a run by.
        self._name = self._kept.name or f"{directory.resolve().name}-{secrets.token_hex(4)}"
        settings: dict[str, Any] = {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
        project, values = config.logging.trackio_project, flat(config)
        self._run = trackio.init(project, name=self._name, resume="allow", config=values, **settings)
        for row in rows:
            self.row(row)

    def row(self, row: Row) -> None:
        """Send what is not there yet."""
        if self._kept.has(row):
            return
        self._run.log({key: value for key, value in row.items() if value is not None}, step=row["env_steps"])
        self._kept.keep(self._name, row["env_steps"])

    def video(self, path: Path, env_steps: int) -> None:
        if path.suffix != ".html":
            self._run.log({"policy": trackio.Video(str(path))}, step=env_steps)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._run.finish()
