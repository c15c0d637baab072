"""Trains programs of trials: here one after the other, or on a Ray cluster; and what each trial came to.

A program is one run directory: several trials side by side, or one trial alone.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacbrax import config as config_lib
from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.config import Config, ConfigError
from sacbrax.core import interquartile
from sacbrax.core.errors import Interrupted, RunError, last_line
from sacbrax.core.numbers import plain_number
from sacbrax.run.directory import in_directory
from sacbrax.sweep.journal import Row
from sacbrax.sweep.spec import Sweep, SweepConfig

if TYPE_CHECKING:
    from sacbrax.sweep.population import Members


@dataclass(frozen=True)
class Program:
    """Trials that are trained together: their lines of the journal, their configurations, and where."""

    rows: Sequence[Row]
    configs: Sequence[Config]
    directory: Path

    @property
    def first(self) -> int:
        """Number of its first trial."""
        number: int = self.rows[0]["trial"]
        return number


class Local:
    """Runs programs in this process; consecutive ones of one shape share what was compiled."""

    def __init__(self, sweep: Sweep):
        self._sweep = sweep
        self._shape: Any = None
        self._cohort: Any = None

    def run(self, programs: Sequence[Program]) -> Iterator[list[Row]]:
        """Finished lines of the journal, program by program."""
        for program in programs:
            yield self._one(program)

    def _one(self, program: Program) -> list[Row]:
        from sacbrax.run.loop import run
        from sacbrax.sweep.population import Members
        from sacbrax.sweep.trials import Trials, signature
        from sacbrax.training.population import Population

        configs = [in_directory(config, program.directory) for config in program.configs]
        shape = (len(configs), signature(configs[0]))
        like = self._cohort if shape == self._shape else None
        self._shape = self._cohort = None  # nothing is held when the next one is made
        begin = time.perf_counter()
        try:
            population: Population
            if self._sweep.config.search == "pbt":
                settings = [row["parameters"] for row in program.rows]
                population = Members(configs, settings, self._sweep, program.first, like)
            else:
                population = Population(configs[0], like) if len(configs) == 1 else Trials(configs, like)
            result = run(population.config, quiet=True, population=population)
        except (RunError, ConfigError) as error:
            return [row | {"status": "failed", "error": str(error)} for row in program.rows]
        if result.interrupted_by is not None:
            raise Interrupted(result.interrupted_by)
        self._shape, self._cohort = shape, population
        if not self._sweep.config.keep_checkpoints:
            _remove_checkpoints(program.directory)
        finished = _finished(self._sweep.config, program, result, time.perf_counter() - begin)
        return _with_lineage(population, finished, program, result) if isinstance(population, Members) else finished


class Ray:
    """Runs programs on a Ray cluster, each on one GPU or on its share of the cores: the cluster that the environment
    names (RAY_ADDRESS), or this machine."""

    def __init__(self, sweep: Sweep):
        try:
            import ray
        except ImportError:
            raise ConfigError("executor: ray is not installed; pip install 'sacbrax[ray]'") from None
        self._sweep, self._ray = sweep, ray

    def run(self, programs: Sequence[Program]) -> Iterator[list[Row]]:
        """Finished lines of the journal, in the order in which programs end."""
        ray = self._ray
        ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
        try:
            total = ray.cluster_resources()
            if total.get("GPU", 0) >= 1:
                needs = {"num_gpus": 1, "num_cpus": self._sweep.config.cpus_per_program or 1}
            else:
                machines = [int(node["Resources"].get("CPU", 1)) for node in ray.nodes()]
                needs = {"num_cpus": self._sweep.config.cpus_per_program or max(machines)}
            if needs["num_cpus"] > total.get("CPU", 0):
                raise ConfigError(
                    f"cpus_per_program: {needs['num_cpus']}, but the cluster has {total.get('CPU', 0):.0f} cores"
                )
            remote = ray.remote(max_retries=1, **needs)(_in_a_worker)
            waiting = {}
            for program in programs:
                texts = [config.to_yaml() for config in program.configs]
                handle = remote.remote(self._sweep, list(program.rows), texts, str(program.directory.absolute()))
                waiting[handle] = program
            while waiting:
                (handle,), _ = ray.wait(list(waiting), num_returns=1)
                program = waiting.pop(handle)
                try:
                    yield ray.get(handle)
                except ray.exceptions.RayError as error:
                    reason = last_line(str(error), type(error).__name__)
                    yield [row | {"status": "failed", "error": reason} for row in program.rows]
        finally:
            ray.shutdown()


def _in_a_worker(sweep: Sweep, rows: list[Row], texts: list[str], directory: str) -> list[Row]:
    """What a Ray worker runs: a program, from plain data."""
    from sacbrax.cli import prepare_jax

    configs = [config_lib.parse(text, "trial") for text in texts]
    prepare_jax(configs[0])
    (finished,) = Local(sweep).run([Program(rows, configs, Path(directory))])
    return finished


def _remove_checkpoints(directory: Path) -> None:
    for name in checkpoint_files.names(directory / "checkpoints"):
        shutil.rmtree(directory / "checkpoints" / name)


def _with_lineage(members: "Members", finished: list[Row], program: Program, result: Any) -> list[Row]:
    """The same lines with what each member trained with at the end; who copied whom goes to the run's directory."""
    import numpy as np

    from sacbrax.sweep import lineage

    begin, rows = [row["parameters"] for row in program.rows], result.metrics
    exchanges, scores, last = members.exchanges(rows), members.scores(rows), members.settings(rows)
    steps = [row["env_steps"] for row in rows]
    lineage.write(program.directory, begin, exchanges, scores, steps)
    best = int(np.argmax(np.nan_to_num(members.sign * scores[-1], nan=-np.inf)))
    with contextlib.suppress(ConfigError):  # the results do not depend on matplotlib
        lineage.draw(program.directory, members.space, begin, exchanges, scores, steps, best)
    return [line | {"settings": dict(own)} for line, own in zip(finished, last, strict=True)]


def _finished(sweep: SweepConfig, program: Program, result: Any, seconds: float) -> list[Row]:
    """The journal's lines of the trials of a program."""
    import numpy as np

    from sacbrax.sweep.trials import outcomes

    seeds, last = program.configs[0].train.num_seeds, result.metrics[-1]
    try:
        found = outcomes(result.metrics, result.summary["stuck_seeds"], len(program.rows), seeds, sweep.metric)
    except KeyError as error:
        raise ConfigError(f"metric: the runs have no {error.args[0]!r}") from None
    lines = []
    for t, (row, table) in enumerate(zip(program.rows, found, strict=True)):
        line = row | {"status": "done", "run": str(program.directory), "seed_index": t * seeds, "seeds": seeds}
        line |= {"env_steps": last["env_steps"], "gradient_steps": last["gradient_steps"]}
        line |= {"seconds": seconds, "trials_of_program": len(program.rows)}
        if table is None or any(value is None for value in table[-1]):
            lines.append(line | {"status": "failed", "error": "an agent diverged", "score": None})
            continue
        values = np.asarray(table, np.float64)  # [evaluations, S]; not finite where null
        means = values.mean(axis=1)
        best = np.nanmax(means) if sweep.direction == "maximize" else np.nanmin(means)
        low, high = interquartile.interquartile_interval(values[-1])
        line |= {
            "score": plain_number(float(means[-1] if sweep.score == "final" else best)),
            "final": plain_number(float(means[-1])),
            "best": plain_number(float(best)),
            "by_seed": values[-1].tolist(),
            "iqm": float(interquartile.interquartile_mean(values[-1])),
            "iqm_low": low,
            "iqm_high": high,
        }
        lines.append(line)
    return lines
