"""One run from configuration to result: restore or explore, train, evaluate, log, save.

The host's only loop. Training runs on the device in calls of about a second, between which the host listens for
signals and saves; where the cuts fall changes no bit of the result.
"""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sacbrax import hosts, policy_file, rows, summary, warm_start
from sacbrax.cohort import Cohort
from sacbrax.config import Config, ConfigError, LoggingConfig
from sacbrax.errors import RunError
from sacbrax.interrupt import Interrupt
from sacbrax.keeper import Keeper
from sacbrax.loggers import Reporter, plain_number, write_atomically
from sacbrax.parallel import COMMON, Plan, fetch
from sacbrax.rundir import RunDirectory
from sacbrax.sinks import Sinks
from sacbrax.store import Store, stored_shards
from sacbrax.trainer import TrainState

CALL_SECONDS = 1.0  # of training between two looks at signals
CALL_GROWTH = 8  # the first calls are short, until the speed is known


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives: its directory, every evaluation, and how it ended."""

    run_dir: Path
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    interrupted_by: int | None = None  # signal number

    def policy(self, seed_index: int | None = None) -> Any:
        """The best policy by evaluation, of all seeds or of one, as a NumPy function."""
        return policy_file.load_policy(self.run_dir, seed_index)


def run(config: Config, *, name: str = "run", quiet: bool = False, cohort: Cohort | None = None) -> Result:
    """Train as `config` says and write the run directory; a run that is already there goes on where it was saved.

    name: the configuration's name, for the default directory runs/<name>/<date-time>.
    cohort: the agents to train where they are not simply the seeds of `config`.
    Raises `ConfigError` for what the user can mend, `RunError` when the run cannot go on, `Interrupted` when a signal
    came before there was anything to save.
    """
    started = time.perf_counter()
    if cohort is None:
        plan = Plan.of(config, stored_shards(config))
        config = plan.resolved(config)
        cohort = Cohort(config, plan=plan)
    devices, seeds = cohort.programs.plan.devices, cohort.programs.plan.seeds_per_device(cohort.size)
    summary.check_memory(cohort.trainer, seeds, len(devices))
    with Interrupt() as interrupt, RunDirectory.of(config, name, hosts.first()) as directory:
        reporter = Reporter(config.total_iterations * config.env.num_envs, quiet or not hosts.first())
        try:
            hosts.wait("directory")
            if not directory.checkpoints.is_dir():
                raise ConfigError(
                    f"run.dir: {config.run.dir} of process 0 is not seen here; all processes must share it"
                )
            reporter.say(f"run directory {directory.path}")
            reporter.say(summary.memory_line(cohort.trainer, seeds))
            return _Run(cohort, directory, reporter, interrupt, started).loop()
        finally:
            reporter.close()


class _Run:
    """The state of a run on the host."""

    def __init__(
        self, cohort: Cohort, directory: RunDirectory, reporter: Reporter, interrupt: Interrupt, started: float
    ):
        self.cohort, self.trainer, self.config, self.directory = cohort, cohort.trainer, cohort.config, directory.path
        self.reporter, self.interrupt, self.started = reporter, interrupt, started
        self.programs, self.hyper = cohort.programs, cohort.programs.place(cohort.hyper, COMMON)
        self.train_keys, self.eval_keys = cohort.train_keys, cohort.eval_keys
        template = self.programs.shapes(self.train_keys)
        self.store = Store(self.config, directory, template, reporter)
        self.keeper = Keeper(cohort, directory.path / "checkpoints", reporter)
        self.compile_seconds, self.checkpoint_seconds = 0.0, 0.0  # the latter: that training waited
        self.call_iterations = CALL_GROWTH
        self.stuck_seeds: list[int] = []  # places along [S] of agents that cannot go on

    def loop(self) -> Result:
        """Train until the end or a signal."""
        tree, self.progress = self.store.restore()
        initial = warm_start.load(self.config, self.store.template["state"]) if tree is None else {}
        if tree is not None:
            self._bad_updates(tree["state"])
        self.wall_before = self.progress.wall_seconds
        try:
            # Of several processes the first one alone speaks to services.
            spoken = self.config if hosts.first() else dataclasses.replace(self.config, logging=LoggingConfig())
            self.sinks = Sinks(spoken, self.directory, self.progress.rows, self.reporter)
            write_atomically(self.directory / "config.yaml", self.config.to_yaml())
        except OSError as error:
            raise ConfigError(f"run.dir: cannot write to {self.directory}: {error.strerror}") from None
        try:
            if not self._finished():
                self._train(tree, initial)
            return self._finish()
        finally:
            self.store.close()
            self.sinks.close(hurry=self.interrupt.signal is not None)

    def _train(self, tree: Mapping[str, Any] | None, initial: dict[str, Any]) -> None:
        compiled = self._compile(fresh=tree is None)
        if tree is None:
            state = warm_start.apply(compiled["init"](self.train_keys), self.cohort.initial)
            state = warm_start.apply(state, initial)
            state = jax.block_until_ready(compiled["prefill"](state, self.hyper))
            sums, self.progress.iteration = self.programs.zero_sums(state), self.config.exploration_iterations
        else:
            state, sums = tree["state"], tree["sums"]
        del tree  # the state is donated to the next call: nothing else may hold it
        self.interrupt.saves = True
        while not self._interrupted():
            bad_updates = self._bad_updates(state)
            if bad_updates >= self.config.train.max_bad_updates:
                self._give_up(bad_updates)
            evaluation_due = self.progress.iteration >= self._next_evaluation()
            if evaluation_due:
                self._evaluate(compiled, state, sums)
                sums = self.programs.zero_sums(state)
            # A checkpoint in the middle of bad updates might displace the last good one.
            due = self._finished() or (bad_updates == 0 and self.store.due(self.progress, evaluation_due))
            if hosts.agree(due):  # it may depend on the clock
                self._save(state, sums)
            if self._finished():
                return
            state, sums = self._advance(compiled, state, sums)
        self._save(state, sums)

    def _interrupted(self) -> bool:
        """Whether this process or another one of the run got a signal, which is then this one's too."""
        self.interrupt.signal = hosts.largest(self.interrupt.signal or 0) or None
        return self.interrupt.signal is not None

    def _bad_updates(self, state: TrainState) -> int:
        """How many updates in a row were skipped, as the cohort counts them."""
        counts = np.atleast_1d(fetch(state.agent.bad_updates))
        self.stuck_seeds = np.flatnonzero(counts >= self.config.train.max_bad_updates).tolist()
        return self.cohort.bad_updates(counts)

    def _advance(self, compiled: Mapping[str, Any], state: TrainState, sums: Any) -> tuple[TrainState, Any]:
        stop = self._next_evaluation()
        if (checkpoint := self.store.next_iteration) is not None:
            stop = min(stop, max(checkpoint, self.progress.iteration + 1))
        iterations = hosts.agree(min(self.call_iterations, stop - self.progress.iteration))
        begin = time.perf_counter()
        state, sums = jax.block_until_ready(compiled["advance"](state, sums, self.hyper, np.int32(iterations)))
        seconds = time.perf_counter() - begin
        self.progress.iteration += iterations
        self.progress.epoch_seconds += seconds
        self.progress.train_seconds += seconds
        self.reporter.progress(self.progress.iteration * self.config.env.num_envs, summary.memory_in_use)
        fitting = max(1, int(iterations * CALL_SECONDS / max(seconds, 1e-6)))
        self.call_iterations = min(fitting, max(self.call_iterations, CALL_GROWTH * iterations))
        return state, sums

    def _next_evaluation(self) -> int:
        """The iteration of the next evaluation; the first is right after exploration."""
        if self.progress.evaluated is None:
            return self.config.exploration_iterations
        return self.progress.evaluated + self.config.iterations_per_epoch

    def _finished(self) -> bool:
        evaluated, iteration = self.progress.evaluated, self.progress.iteration
        return evaluated == iteration and iteration * self.config.env.num_envs >= self.config.train.total_env_steps

    def _save(self, state: TrainState, sums: Any) -> None:
        if not self.config.checkpoint.full:
            return
        self._clock()
        begin = time.perf_counter()
        self.store.save({"state": state, "sums": sums}, self.progress)
        self.checkpoint_seconds += time.perf_counter() - begin

    def _clock(self) -> None:
        self.progress.wall_seconds = self.wall_before + time.perf_counter() - self.started

    def _give_up(self, bad_updates: int) -> None:
        self.store.close()
        raise RunError(
            f"train.max_bad_updates: {bad_updates} updates in a row had a gradient that is not finite, at env step "
            f"{self.progress.iteration * self.config.env.num_envs:,}; the last good checkpoint is "
            f"{self.store.newest or 'none'}. A lower algorithm.learning_rate or reward_scale may help"
        )

    def _compile(self, fresh: bool) -> dict[str, Any]:
        """Compile every function of the run before it starts."""
        begin = time.perf_counter()
        programs, compiled = self.programs, self.cohort.compiled
        state, sums = self.store.template["state"], self.store.template["sums"]
        wanted: dict[str, tuple[Any, ...]] = {
            "advance": (state, sums, self.hyper, np.int32(1)),
            "evaluate": (state, self.eval_keys),
            "diagnose": (state, self.hyper, self.eval_keys),
        }
        if fresh:
            wanted |= {"prefill": (state, self.hyper), "init": (self.train_keys,)}
        compiled |= programs.compile({name: a for name, a in wanted.items() if name not in compiled})
        self.compile_seconds = time.perf_counter() - begin
        self.reporter.say(f"compiled in {self.compile_seconds:.1f} s")
        return compiled

    def _evaluate(self, compiled: Mapping[str, Any], state: TrainState, sums: Mapping[str, Any]) -> None:
        """Evaluate, log one line, and keep the policy if it is the best so far."""
        episodes = fetch(compiled["evaluate"](state, self.eval_keys))
        diagnostics = fetch(compiled["diagnose"](state, self.hyper, self.eval_keys))
        self._clock()
        with np.errstate(all="ignore"):  # no episode ended, or a faulty one: NaN, null in the log
            train = self.trainer.averages(fetch(sums))
            metrics = rows.row(self.config, self.progress, episodes, train, diagnostics)
            by_seed = rows.seed_returns(episodes)
        progress = self.progress
        progress.rows.append(metrics)
        progress.evaluated, progress.epoch_seconds = progress.iteration, 0.0
        self.sinks.row(metrics)
        drawn = self.sinks.wants_policy(len(progress.rows))
        snapshot = self.keeper.keep(
            progress, by_seed, lambda: fetch((state.agent.params, state.normalizer)), also_now=drawn
        )
        if drawn:
            self.sinks.policy(snapshot, progress.rows[-1]["env_steps"])
        self._write_summary()

    def _write_summary(self) -> dict[str, Any]:
        self._clock()
        content = {
            "metrics": self.progress.rows[-1],
            "best_return": plain_number(self.progress.best_return),
            "compile_seconds": self.compile_seconds,
            "train_seconds": self.progress.train_seconds,
            "checkpoint_seconds": self.checkpoint_seconds,
            "wall_seconds": self.progress.wall_seconds,
            "interrupted": self.interrupt.signal is not None,
            "stuck_seeds": self.stuck_seeds,
            "device": str(jax.devices()[0].device_kind),
            "hardware": summary.hardware(),
            "versions": summary.versions(),
            "git_revision": summary.git_revision(),
        }
        with self.reporter.tolerate("summary.json"):
            write_atomically(self.directory / "summary.json", json.dumps(content, indent=2) + "\n")
        return content

    def _finish(self) -> Result:
        content = self._write_summary() if self.progress.rows else {}
        self.store.finish()
        try:
            self.sinks.finish(content)
        except OSError as error:
            raise RunError(f"the last lines of the log could not be written: {error.strerror}") from None
        self.reporter.say(f"best return {self.progress.best_return:.1f}; everything is in {self.directory}")
        return Result(self.directory, self.progress.rows, content, self.interrupt.signal)
