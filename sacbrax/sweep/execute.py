"""Trains programs of trials: here one after the other, or on a Ray cluster."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sacbrax import config as config_lib
from sacbrax.config import ConfigError
from sacbrax.core.errors import Interrupted, MachineError, RunError, TrainingError, last_line
from sacbrax.run.directory import in_directory
from sacbrax.sweep.journal import Row
from sacbrax.sweep.program import Program
from sacbrax.sweep.spec import Sweep


class Local:
    """Runs programs in this process; consecutive ones of one shape share what was compiled."""

    def __init__(self, sweep: Sweep):
        self._sweep = sweep
        self._shape: Any = None
        self._cohort: Any = None

    def run(self, programs: Iterable[Program]) -> Iterator[list[Row]]:
        """Finished lines of the journal, program by program."""
        for program in programs:
            yield self._one(program)

    def _one(self, program: Program) -> list[Row]:
        from sacbrax.run.loop import run
        from sacbrax.sweep import lines
        from sacbrax.sweep.population import Members
        from sacbrax.sweep.slots import Slots
        from sacbrax.sweep.trials import NoMetricError, Trials, signature
        from sacbrax.training.population import Population

        configs = [in_directory(config, program.directory) for config in program.configs]
        shape = (program.slots or len(configs), signature(configs[0]))
        like = self._cohort if shape == self._shape else None
        self._shape = self._cohort = None  # nothing is held when the next one is made
        begin = time.perf_counter()
        try:
            population: Population
            if self._sweep.config.search == "pbt":
                settings = [row["parameters"] for row in program.rows]
                population = Members(configs, settings, self._sweep, program.first, like)
            elif program.slots is not None:
                population = Slots(configs, program.slots, self._sweep.config, program.others, like)
            else:
                population = Population(configs[0], like) if len(configs) == 1 else Trials(configs, like)
            result = run(population.config, quiet=True, population=population)
        except (NoMetricError, MachineError):
            raise
        except (TrainingError, ConfigError) as error:  # any other is not of these settings, which may yet go well
            return [row | {"status": "failed", "error": str(error)} for row in program.rows]
        if result.interrupted_by is not None:
            raise Interrupted(result.interrupted_by)
        self._shape, self._cohort = shape, population
        seconds = time.perf_counter() - begin
        if isinstance(population, Slots):
            finished = lines.halved(self._sweep.config, program, result, seconds, population)
        else:
            finished = lines.finished(self._sweep.config, program, result, seconds)
        if isinstance(population, Members):
            finished = lines.with_lineage(population, finished, program, result)
        return finished


class Ray:
    """Runs programs on a Ray cluster, each on one GPU or on its share of the cores: the cluster that the environment
    names (RAY_ADDRESS), or this machine."""

    def __init__(self, sweep: Sweep):
        try:
            import ray
        except ImportError:
            raise ConfigError("executor: ray is not installed; pip install 'sacbrax[ray]'") from None
        self._sweep, self._ray = sweep, ray

    def run(self, programs: Iterable[Program]) -> Iterator[list[Row]]:
        """Finished lines of the journal, in the order in which programs end.

        A program that ends otherwise leaves its trials to be run: the others end first, and then there is a `RunError`.
        """
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
                place = str(program.directory.absolute())
                handle = remote.remote(self._sweep, list(program.rows), texts, place, program.slots, program.others)
                waiting[handle] = program
            unfinished: list[str] = []
            while waiting:
                (handle,), _ = ray.wait(list(waiting), num_returns=1)
                program = waiting.pop(handle)
                try:
                    finished = ray.get(handle)
                except ray.exceptions.RayError as error:  # a worker was lost, twice, or raised something
                    if isinstance(cause := getattr(error, "cause", None), ConfigError):
                        raise cause from None
                    reason = last_line(str(error), type(error).__name__)
                    unfinished.append(f"{program.directory.name} did not come to its end: {reason}")
                    continue
                yield finished
            if unfinished:
                others = f" (and {len(unfinished) - 1} others)" if len(unfinished) > 1 else ""
                raise RunError(f"{unfinished[0]}{others}; the same command goes on")
        finally:
            ray.shutdown()


def _in_a_worker(
    sweep: Sweep, rows: list[Row], texts: list[str], directory: str, slots: int | None, others: list[list[float]]
) -> list[Row]:
    """What a Ray worker runs: a program, from plain data."""
    from sacbrax.cli import prepare_jax

    configs = [config_lib.parse(text, "trial") for text in texts]
    prepare_jax(configs[0])
    (finished,) = Local(sweep).run([Program(rows, configs, Path(directory), slots, others)])
    return finished
