"""TensorBoard: every number of every evaluation, the configuration as hyperparameters, videos as animated GIFs.

The event files are in `tensorboard/` of the run directory: `tensorboard --logdir runs` shows and compares all runs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams

from sacbrax.config import Config, flat
from sacbrax.sinks import Row, Service
from sacbrax.sinks.kept import Kept


class TensorBoard(Service):
    """Writes event files. A run that goes on hides what the files hold beyond the evaluation it goes on from."""

    def __init__(self, config: Config, directory: Path, rows: Sequence[Row]):
        self._kept, last = Kept(directory, "tensorboard", rows), rows[-1]["env_steps"] if rows else -1
        directory = directory / "tensorboard"
        known = any(directory.glob("events.*"))
        self._writer = SummaryWriter(str(directory), purge_step=last + 1 if known and rows else None)
        shown = last if self._kept.name is None else min(self._kept.sent, last)  # older releases kept nothing
        self._kept.keep("events", shown if known else -1)
        parameters = {key: _simple(value) for key, value in flat(config).items()}
        experiment, start, self._end = hparams(parameters, {"eval/return_mean": None})
        for summary in (experiment, start):
            self._writer.file_writer.add_summary(summary)
        for row in rows:
            if not self._kept.has(row):
                self.row(row)

    def row(self, row: Row) -> None:
        for key, value in row.items():
            if value is not None and key != "env_steps":
                self._writer.add_scalar(key, value, row["env_steps"])
        self._writer.flush()
        self._kept.keep("events", row["env_steps"])

    def video(self, path: Path, env_steps: int) -> None:
        if path.suffix != ".gif":  # it shows no other
            return
        with Image.open(path) as image:
            width, height = image.size
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
        self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag="policy", image=picture)]), env_steps)
        self._writer.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._writer.file_writer.add_summary(self._end)
        self._writer.close()


def _simple(value: Any) -> bool | float | str:
    """What a hyperparameter may be."""
    return value if isinstance(value, bool | int | float | str) else str(value)
