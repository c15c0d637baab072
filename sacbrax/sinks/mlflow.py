"""MLflow: every evaluation with the environment steps as the step, the configuration as parameters, and videos.

Where it goes is MLflow's own to say, by `MLFLOW_TRACKING_URI`: a server, or a file on this machine.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from sacbrax.config import Config, flat
from sacbrax.core.files import write_atomically
from sacbrax.sinks import Row, Service

MOST_METRICS, MOST_PARAMS = 1000, 100  # that one request may have
MOST_LETTERS = 6000  # of a parameter's value
RETURN = "eval/return_mean"

logging.getLogger("mlflow").setLevel(logging.WARNING)  # not how it makes its database


class MLflow(Service):
    """One run there for one run directory, also when it goes on: its name there is kept in the file `mlflow_id`."""

    def __init__(self, config: Config, directory: Path, rows: Sequence[Row]):
        self._client, place = MlflowClient(), directory / "mlflow_id"
        if place.exists():
            self._id = place.read_text(encoding="utf-8").strip()
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._create(config, directory.resolve().name)
            write_atomically(place, f"{self._id}\n")
        self._sent = max((metric.step for metric in self._client.get_metric_history(self._id, RETURN)), default=-1)
        for row in rows:
            self.row(row)

    def _create(self, config: Config, name: str) -> str:
        experiment = self._client.get_experiment_by_name(config.logging.mlflow_experiment)
        place = experiment.experiment_id if experiment else None
        if place is None:
            place = self._client.create_experiment(config.logging.mlflow_experiment)
        run = self._client.create_run(place, run_name=name).info.run_id
        parameters = [Param(key, str(value)[:MOST_LETTERS]) for key, value in flat(config).items()]
        for i in range(0, len(parameters), MOST_PARAMS):
            self._client.log_batch(run, params=parameters[i : i + MOST_PARAMS])
        return run

    def row(self, row: Row) -> None:
        """Send what is not there yet: a run that goes on from a checkpoint has some rows a second time."""
        step, now = row["env_steps"], time.time_ns() // 10**6
        if step <= self._sent:
            return
        metrics = [Metric(key, value, now, step) for key, value in row.items() if value is not None]
        for i in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics[i : i + MOST_METRICS])
        self._sent = step

    def video(self, path: Path, env_steps: int) -> None:
        self._client.log_artifact(self._id, str(path), "videos")  # the file's name is the step

    def finish(self, summary: Mapping[str, object]) -> None:
        if not summary:  # the run ended by an error
            self._client.set_terminated(self._id, "FAILED")
            return
        self._client.set_tag(self._id, "best_return", summary.get("best_return"))
        self._client.set_terminated(self._id, "KILLED" if summary.get("interrupted") else "FINISHED")
