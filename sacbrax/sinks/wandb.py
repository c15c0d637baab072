"""Weights & Biases: every evaluation with the environment steps as the step, the configuration, and videos.

With `logging.wandb: offline` nothing leaves the machine: the run directory's `wandb/` is sent later by `wandb sync`.
"""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from sacbrax.config import Config
from sacbrax.core.files import write_atomically
from sacbrax.sinks import Row, Service

CONNECT_SECONDS = 20


class WeightsAndBiases(Service):
    """One run there for one run directory, also when it goes on: the name is kept in the file `wandb_id`."""

    def __init__(self, config: Config, directory: Path, rows: Sequence[Row]):
        place, known = directory / "wandb_id", (directory / "wandb_id").exists()
        name = place.read_text(encoding="utf-8").strip() if known else secrets.token_hex(4)
        mode: Any = config.logging.wandb  # offline or online
        self._run = wandb.init(
            project=config.logging.wandb_project,
            name=directory.resolve().name,
            id=name,
            resume="allow",
            dir=directory,
            mode=mode,
            config=config.to_mapping(),
            settings=wandb.Settings(silent=True, init_timeout=CONNECT_SECONDS, console="off", x_disable_stats=True),
        )
        if not known:  # not before it is there, or a run that goes on would not send what it never got
            write_atomically(place, name + "\n")
        for row in () if known else rows:
            self.row(row)

    def row(self, row: Row) -> None:
        numbers = {key: value for key, value in row.items() if value is not None}
        self._run.log(numbers, step=row["env_steps"])

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
