"""One run from configuration to result: restore or explore, train, evaluate, log, save.

The host's only loop. Training runs on the device in calls of about a second, between which the host listens for
signals and saves; where the cuts fall changes no bit of the result.
"""

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sacbrax.agents.hyperparameters import Hyper
from sacbrax.config import Config, ConfigError, LoggingConfig
from sacbrax.core import trials_file
from sacbrax.core.errors import MachineError, RunError, TrainingError
from sacbrax.core.files import write_atomically
from sacbrax.core.machine import git_revision, hardware, versions
from sacbrax.core.numbers import plain_number
from sacbrax.core.signals import Interrupt
from sacbrax.parallel import processes
from sacbrax.policy_file import files as policy_files
from sacbrax.run import metrics_row, warm_start
from sacbrax.run.best_policies import BestPolicies
from sacbrax.run.directory import RunDirectory
from sacbrax.run.health import Health
from sacbrax.run.pace import Pace
from sacbrax.run.resume import Store, stored_shards
from sacbrax.sinks import Sinks
from sacbrax.sinks.console import Reporter
from sacbrax.training.memory import check_compiled, check_memory, memory_in_use, memory_line
from sacbrax.training.plan import Plan
from sacbrax.training.population import Population
from sacbrax.training.programs import NUMBERS, fetch, filled
from sacbrax.training.trainer import TrainState


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives: its directory, every evaluation, and how it ended."""

    run_dir: Path
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    interrupted_by: int | None = None  # signal number

    def policy(self, seed_index: int | None = None) -> Any:
        """The best policy by evaluation, of all seeds or of one, as a NumPy function."""
        return policy_files.load_policy(self.run_dir, seed_index)


def run(config: Config, *, quiet: bool = False, population: Population | None = None) -> Result:
    """Train as `config` says and write the run directory; a run that is already there goes on where it was saved.

    population: the agents to train where they are not simply the seeds of `config`.
    Raises `ConfigError` for what the user can mend, `RunError` when the run cannot go on, `Interrupted` when a signal
    came before there was anything to save.
    """
    started = time.perf_counter()
    with jax.enable_x64(False), Interrupt() as interrupt:  # float32, whatever the process computes in otherwise
        if population is None:
            if config.run.dir is not None:
                trials_file.refuse(config.run.dir)
            plan = Plan.of(config, stored_shards(config))
            config = plan.resolved(config)
            population = Population(config, plan=plan)
        devices, seeds = population.programs.plan.devices, population.programs.plan.seeds_per_device(population.size)
        memory = check_memory(population.trainer, seeds, len(devices))
        with RunDirectory.of(config, processes.first()) as directory:
            reporter = Reporter(config.total_iterations * config.env.num_envs, quiet or not processes.first())
            try:
                processes.wait("directory")
                if not directory.checkpoints.is_dir():
                    raise ConfigError(
                        f"run.dir: {config.run.dir} of process 0 is not seen here; all processes must share it"
                    )
                return _Run(population, directory, reporter, interrupt, started, memory).loop()
            finally:
                reporter.close()


class _Run:
    """The state of a run on the host."""

    def __init__(
        self,
        population: Population,
        directory: RunDirectory,
        reporter: Reporter,
        interrupt: Interrupt,
        started: float,
        memory: Mapping[str, int],
    ):
        self.population, self.trainer, self.config = population, population.trainer, population.config
        self.run_directory, self.directory = directory, directory.path
        self.reporter, self.interrupt, self.started, self.memory = reporter, interrupt, started, memory
        self.programs, self.hyper = population.programs, population.programs.place(population.hyper, NUMBERS)
        self.train_keys, self.eval_keys = population.train_keys, population.eval_keys
        template = self.programs.shapes(self.train_keys, self.hyper)
        self.store = Store(self.config, directory, template, reporter)
        self.keeper = BestPolicies(population, directory.path / "checkpoints", reporter)
        self.pace = Pace()
        self.health = Health(population, reporter)

    def loop(self) -> Result:
        """Train until the end or a signal."""
        tree, self.progress = self.store.restore()
        initial = warm_start.load(self.config, self.store.template["state"]) if tree is None else {}
        if tree is not None:
            self.health.bad_updates(tree["state"])
        self.reporter.say(f"run directory {self.directory}")
        self.reporter.say(memory_line(self.memory, len(self.programs.plan.devices)))
        self.wall_before = self.progress.wall_seconds
        try:
            # Of several processes the first one alone speaks to services.
            spoken = self.config if processes.first() else dataclasses.replace(self.config, logging=LoggingConfig())
            rows = None if tree is None else self.progress.rows
            self.sinks = Sinks(spoken, self.directory, rows, self.reporter)
            self._say_what()
        except OSError as error:
            raise MachineError(f"run.dir: cannot write to {self.directory}: {error.strerror}") from None
        try:
            if trains := not self._finished():
                self._train(tree, initial)
            return self._finish(trains)
        finally:
            self.store.close()
            self.sinks.close(hurry=self.interrupt.signal is not None)

    def _train(self, tree: Mapping[str, Any] | None, initial: dict[str, Any]) -> None:
        compiled = self._compile(fresh=tree is None)
        if tree is None:
            self.reporter.at("exploring")
            state = compiled["init"](self.train_keys, self.hyper)
            if initial:
                self.reporter.say(warm_start.line(self.config, initial))
                state = warm_start.apply(state, initial)
            state = self.trainer.with_prior(state)
            state = jax.block_until_ready(compiled["prefill"](state, self.hyper))
            self.health.check_explored(state)
            sums, self.progress.iteration = self.programs.zero_sums(state), self.config.exploration_iterations
        else:
            state, sums = tree["state"], tree["sums"]
            self.hyper = self._hyper_of_now()
        del tree  # the state is donated to the next call: nothing else may hold it
        self.interrupt.saves = True
        while not self._interrupted():
            bad_updates = self.health.bad_updates(state)
            if bad_updates >= self.config.train.max_bad_updates:
                self._give_up(bad_updates)
            evaluation_due = self.progress.iteration >= self._next_evaluation()
            if evaluation_due:
                self._evaluate(compiled, state, sums)
                sums = self.programs.zero_sums(state)
            # A checkpoint in the middle of bad updates might displace the last good one.
            due = self._finished() or (bad_updates == 0 and self.store.due(self.progress, evaluation_due))
            if processes.agree(due):  # it may depend on the clock
                self._save(state, sums)
            if self._finished():
                return
            state, sums = self._advance(compiled, state, sums)
        self._save(state, sums)

    def _mend(self) -> None:
        """Make anew what somebody removed of the run directory; its log mends itself."""
        with self.reporter.tolerate("the run directory"):
            if self.run_directory.mend():
                self.reporter.warn(f"somebody removed {self.directory}; what is known is written again")
                self._say_what()

    def _say_what(self) -> None:
        """Write what is trained."""
        write_atomically(self.directory / "config.yaml", self.config.to_yaml())
        if self.population.trials:
            trials_file.write(self.directory, self.population.trials)

    def _interrupted(self) -> bool:
        """Whether this process or another one of the run got a signal, which is then this one's too."""
        self.interrupt.signal = processes.largest(self.interrupt.signal or 0) or None
        return self.interrupt.signal is not None

    def _advance(self, compiled: Mapping[str, Any], state: TrainState, sums: Any) -> tuple[TrainState, Any]:
        stop, interval = self._next_evaluation(), self.config.iterations_per_round
        # What happens between an evaluation and the training after it comes after the checkpoint that may be there, so
        # a run that goes on from it does the same.
        if self.progress.iteration == self.progress.evaluated:
            state, self.hyper = self.population.exchange(state, self.progress.rows), self._hyper_of_now()
            state = self._with_curriculum(state)
            if "refresh" in compiled:
                state = compiled["refresh"](state)
        if (checkpoint := self.store.next_iteration) is not None:
            stop = min(stop, max(checkpoint, self.progress.iteration + interval))
        rounds = self.pace.rounds(stop - self.progress.iteration, interval)
        iterations = processes.agree(rounds * interval)
        self.reporter.at("training")
        begin = time.perf_counter()
        state, sums = jax.block_until_ready(
            compiled["advance"](state, sums, self.hyper, np.int32(iterations // interval))
        )
        seconds = time.perf_counter() - begin
        self.progress.iteration += iterations
        self.progress.epoch_seconds += seconds
        self.progress.train_seconds += seconds
        self.reporter.progress(self.progress.iteration * self.config.env.num_envs, memory_in_use)
        self.pace.took(iterations, seconds)
        return state, sums

    def _with_curriculum(self, state: TrainState) -> TrainState:
        """The state with the environments' numbers that follow from the last evaluation, alike for all agents."""
        if (curriculum := self.trainer.curriculum) is None:
            return state
        numbers = curriculum.after(self.progress.rows[-1])
        old = state.env.curriculum or {}
        moved = {name: filled(x, numbers[name]) for name, x in old.items()}
        return state.replace(env=state.env.replace(curriculum=moved))

    def _hyper_of_now(self) -> Hyper:
        return self.programs.place(self.population.hyper_after(self.progress.rows), NUMBERS)

    def _next_evaluation(self) -> int:
        """The iteration of the next evaluation; the first is right after exploration."""
        if self.progress.evaluated is None:
            return self.config.exploration_iterations
        return self.progress.evaluated + self.config.iterations_per_epoch

    def _finished(self) -> bool:
        evaluated, iteration = self.progress.evaluated, self.progress.iteration
        over = iteration * self.config.env.num_envs >= self.config.train.total_env_steps
        return evaluated == iteration and (over or self.population.finished(self.progress.rows))

    def _save(self, state: TrainState, sums: Any) -> None:
        if not self.config.checkpoint.full:
            return
        self._mend()
        self._clock()
        begin = time.perf_counter()
        self.store.save({"state": state, "sums": sums}, self.progress)
        self.progress.checkpoint_seconds += time.perf_counter() - begin

    def _clock(self) -> None:
        self.progress.wall_seconds = self.wall_before + time.perf_counter() - self.started

    def _give_up(self, bad_updates: int) -> None:
        self.store.close()
        raise TrainingError(
            f"train.max_bad_updates: {bad_updates} updates in a row had a gradient that is not finite, at env step "
            f"{self.progress.iteration * self.config.env.num_envs:,}; the last good checkpoint is "
            f"{self.store.newest or 'none'}. A lower algorithm.learning_rate, reward_scale or target_entropy may help"
        )

    def _compile(self, fresh: bool) -> dict[str, Any]:
        """Compile every function of the run before it starts."""
        begin = time.perf_counter()
        programs, compiled = self.programs, self.population.compiled
        state, sums = self.store.template["state"], self.store.template["sums"]
        wanted: dict[str, tuple[Any, ...]] = {
            "advance": (state, sums, self.hyper, np.int32(1)),
            "evaluate": (state, self.eval_keys),
            "diagnose": (state, self.hyper, self.eval_keys),
        }
        if self.trainer.vector_env.reset_pool:
            wanted["refresh"] = (state,)
        if fresh:
            wanted |= {"prefill": (state, self.hyper), "init": (self.train_keys, self.hyper)}
        wanted = {name: arguments for name, arguments in wanted.items() if name not in compiled}
        with self.reporter.compiling(list(wanted)) as done:
            compiled |= programs.compile(wanted, done)
        check_compiled(compiled, self.config, self.memory, len(programs.plan.devices))
        seconds = time.perf_counter() - begin
        self.progress.compile_seconds += seconds
        self.reporter.say(f"compiled in {seconds:.1f} s")
        return compiled

    def _evaluate(self, compiled: Mapping[str, Any], state: TrainState, sums: Any) -> None:
        """Evaluate, log one line, and keep the policy if it is the best so far."""
        self.reporter.at("evaluating")
        episodes = fetch(compiled["evaluate"](state, self.eval_keys))
        diagnostics = fetch(compiled["diagnose"](state, self.hyper, self.eval_keys))
        self.health.check_centering(episodes["length"], episodes["return"])
        self._clock()
        with np.errstate(all="ignore"):  # no episode ended, or a faulty one: NaN, null in the log
            train = fetch(sums).averages()
            metrics = metrics_row.row(self.config, self.progress, episodes, train, diagnostics)
            by_seed = metrics_row.seed_returns(episodes)
        in_force = fetch(state.env.curriculum or {})
        metrics |= {f"curriculum/{name}": float(np.ravel(x)[0]) for name, x in in_force.items()}
        progress = self.progress
        progress.rows.append(metrics)
        progress.evaluated, progress.epoch_seconds = progress.iteration, 0.0
        self._mend()
        self.sinks.row(metrics)
        drawn = self.sinks.wants_policy(len(progress.rows))
        snapshot = self.keeper.keep(
            progress, by_seed, lambda: fetch((state.judged.params, state.normalizer)), also_now=drawn
        )
        if drawn:
            self.sinks.policy(snapshot, progress.rows[-1]["env_steps"])
        self._write_summary()

    def _write_summary(self) -> dict[str, Any]:
        self._clock()
        content = {
            "metrics": self.progress.rows[-1],
            "best_return": plain_number(self.progress.best_return),
            "compile_seconds": self.progress.compile_seconds,
            "train_seconds": self.progress.train_seconds,
            "checkpoint_seconds": self.progress.checkpoint_seconds,
            "wall_seconds": self.progress.wall_seconds,
            "interrupted": self.interrupt.signal is not None,
            "stuck_seeds": self.health.stuck_seeds,
            "device": str(jax.devices()[0].device_kind),
            "hardware": hardware(),
            "versions": versions(),
            "git_revision": git_revision(),
        }
        with self.reporter.tolerate("summary.json"):
            write_atomically(self.directory / "summary.json", json.dumps(content, indent=2) + "\n")
        return content

    def _summary_of_before(self) -> dict[str, Any] | None:
        """What the process wrote that trained last."""
        try:
            content = json.loads((self.directory / "summary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        ours = isinstance(content, dict) and content.get("metrics") == self.progress.rows[-1]
        return content if ours and not content.get("interrupted") else None

    def _finish(self, trained: bool) -> Result:
        """The result; `trained`: whether this process did, or found nothing left to do."""
        self._mend()
        before = None if trained else self._summary_of_before()
        content = before or (self._write_summary() if self.progress.rows else {})
        self.store.finish()
        if self.progress.rows and self.progress.best_return == -math.inf:
            self.reporter.warn("no evaluation had an episode that stayed finite, so no policy was kept as the best")
        try:
            self.sinks.finish(content)
        except OSError as error:
            raise RunError(f"the last lines of the log could not be written: {error.strerror}") from None
        self.reporter.say(self._last_word())
        return Result(self.directory, self.progress.rows, content, self.interrupt.signal)

    def _last_word(self) -> str:
        if self._finished():
            return f"best return {self.progress.best_return:.1f}; everything is in {self.directory}"
        steps = f"interrupted at {self.progress.iteration * self.config.env.num_envs:,} env steps"
        if not self.config.checkpoint.full:
            return f"{steps}; not saved, for checkpoint.full is false; what was logged is in {self.directory}"
        return f"{steps}, saved in {self.directory}; the same command goes on"
