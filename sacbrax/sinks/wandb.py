"""Weights & Biases: every evaluation with the environment steps as the step, the configuration, and videos.

With `logging.wandb: offline` nothing leaves the machine: the run directory's `wandb/` is sent later by `wandb sync`.
"""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from sacbrax.config import Config
from sacbrax.sinks import Row, Service
from sacbrax.sinks.kept import Kept

CONNECT_SECONDS = 20


class WeightsAndBiases(Service):
    """One run there for one run directory, also when it goes on."""

    def __init__(self, config: Config, directory: Path, rows: Sequence[Row]):
        self._kept = Kept(directory, "wandb", rows)
        self._id = self._kept.name or secrets.token_hex(4)
        mode: Any = config.logging.wandb  # offline or online
        self._run = wandb.init(
            project=config.logging.wandb_project,
            name=directory.resolve().name,
            id=self._id,
            resume="allow",
            dir=directory,
            mode=mode,
            config=config.to_mapping(),
            settings=wandb.Settings(silent=True, init_timeout=CONNECT_SECONDS, console="off", x_disable_stats=True),
        )
        for row in rows:
            self.row(row)

    def row(self, row: Row) -> None:
        """Send what is not there yet."""
        if self._kept.has(row):
            return
        numbers = {key: value for key, value in row.items() if value is not None}
        self._run.log(numbers, step=row["env_steps"])
        self._kept.keep(self._id, row["env_steps"])

    def video(self, path: Path, env_steps: int) -> None:
        media = wandb.Html(str(path)) if path.suffix == ".html" else wandb.Video(str(path))
        # It joins the newest row there, whose own env_steps stay.
        self._run.log({"policy": media, "policy_env_steps": env_steps})

    def finish(self, summary: Mapping[str, Any]) -> None:
        if not summary:  # the run ended by an error
            self._run.finish(exit_code=1)
            return
        self._run.summary.update({"best_return": summary.get("best_return")})
        self._run.finish()
