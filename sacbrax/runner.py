"""One run from configuration to result: compile, explore, train epoch by epoch, evaluate, log.

The host's only loop. It touches the device once per epoch.
"""

import dataclasses
import json
import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np

import sacbrax
from sacbrax import policy_file
from sacbrax.config import Config, ConfigError
from sacbrax.loggers import MetricsFiles, Reporter, plain_number, write_atomically
from sacbrax.trainer import Programs, Trainer, TrainState, predicted_bytes


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives: its directory, every evaluation, and how it ended."""

    run_dir: Path
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    interrupted_by: int | None = None  # signal number

    def policy(self) -> Any:
        """The best policy by evaluation, as a NumPy function."""
        return policy_file.load_policy(self.run_dir)


class _Interrupt:
    """Remembers the first SIGINT or SIGTERM so that the run can end at a whole epoch; a second one ends it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "_Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def run(config: Config, *, name: str = "run", quiet: bool = False) -> Result:
    """Train as `config` says and write the run directory.

    name: the configuration's name, for the default directory runs/<name>/<date-time>.
    Raises `ConfigError` for what the user can mend; nothing is written then.
    """
    started = time.perf_counter()
    trainer = Trainer(config)
    seeds = config.train.num_seeds
    _check_memory(trainer, seeds)
    directory = Path(config.run.dir or Path("runs") / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    if (directory / "metrics.jsonl").exists():
        raise ConfigError(f"run.dir: {directory} already holds a run; choose another directory")
    try:
        (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"run.dir: cannot create {directory}: {error.strerror}") from None
    write_atomically(directory / "config.yaml", config.to_yaml())

    total = (config.exploration_iterations + config.num_epochs * config.iterations_per_epoch) * config.env.num_envs
    reporter, files = Reporter(total, quiet), MetricsFiles(directory)
    try:
        reporter.say(f"run directory {directory}")
        reporter.say(_memory_line(trainer, seeds))
        with _Interrupt() as interrupt:
            return _Run(trainer, directory, reporter, files, interrupt, started).loop()
    finally:
        reporter.close()
        files.close()


class _Run:
    """The state of a run on the host."""

    def __init__(
        self,
        trainer: Trainer,
        directory: Path,
        reporter: Reporter,
        files: MetricsFiles,
        interrupt: _Interrupt,
        started: float,
    ):
        self.trainer, self.config, self.directory = trainer, trainer.config, directory
        self.reporter, self.files, self.interrupt, self.started = reporter, files, interrupt, started
        self.programs = Programs(trainer, self.config.train.num_seeds)
        self.metrics: list[dict[str, Any]] = []
        self.best_return = -np.inf
        self.compile_seconds = 0.0
        self.train_seconds = 0.0  # in epochs, without compilation and evaluation

    def loop(self) -> Result:
        hyper = self.trainer.hyper()
        train_keys, eval_keys = self.programs.keys(self.config.train.seed)
        compiled = self._compile(train_keys, eval_keys, hyper)
        state = compiled["prefill"](compiled["init"](train_keys), hyper)
        self._evaluate(compiled, state, eval_keys, {}, None)
        for _ in range(self.config.num_epochs):
            if self.interrupt.signal is not None:
                break
            begin = time.perf_counter()
            state, train_metrics = jax.block_until_ready(compiled["epoch"](state, hyper))
            seconds = time.perf_counter() - begin
            self.train_seconds += seconds
            self._evaluate(compiled, state, eval_keys, jax.device_get(train_metrics), seconds)
        return self._finish()

    def _compile(self, train_keys: Any, eval_keys: Any, hyper: Any) -> dict[str, Any]:
        """Compile every function of the run before it starts, side by side: XLA compiles outside Python's lock."""
        begin = time.perf_counter()
        programs = self.programs
        state = jax.eval_shape(programs.init, train_keys)
        lowered = {
            "epoch": programs.epoch.lower(state, hyper),
            "evaluate": programs.evaluate.lower(state, eval_keys),
            "prefill": programs.prefill.lower(state, hyper),
            "init": programs.init.lower(train_keys),
        }
        with ThreadPoolExecutor() as pool:
            compiled = dict(zip(lowered, pool.map(lambda program: program.compile(), lowered.values()), strict=True))
        self.compile_seconds = time.perf_counter() - begin
        self.reporter.say(f"compiled in {self.compile_seconds:.1f} s")
        return compiled

    def _evaluate(
        self, compiled: Mapping[str, Any], state: TrainState, keys: Any, train: Mapping[str, Any], seconds: float | None
    ) -> None:
        """Evaluate, log one line, and keep the policy if it is the best yet. seconds: the epoch's, None before it."""
        episodes = jax.device_get(compiled["evaluate"](state, keys))
        returns = np.atleast_2d(episodes["return"])  # [S, episodes]
        config, num_envs = self.config, self.config.env.num_envs
        iteration = int(np.max(jax.device_get(state.iteration)))
        updates = (iteration - config.exploration_iterations) * config.train.updates_per_step
        epoch_iterations = 0 if seconds is None else config.iterations_per_epoch
        rate = config.train.num_seeds * epoch_iterations / (seconds or np.inf)
        metrics: dict[str, Any] = {
            "env_steps": iteration * num_envs,
            "gradient_steps": updates,
            "wall_seconds": time.perf_counter() - self.started,
            "eval/return_mean": float(returns.mean()),
            "eval/return_std": float(returns.std()),
            "eval/length_mean": float(np.mean(episodes["length"])),
            "time/env_steps_per_second": rate * num_envs,
            "time/gradient_steps_per_second": rate * config.train.updates_per_step,
        }
        names = sorted(train) or sorted(self._train_names(compiled))
        metrics |= {f"train/{name}": plain_number(np.mean(train[name])) if train else None for name in names}
        if config.train.num_seeds > 1:
            metrics |= {f"seed_{i}/eval/return_mean": float(r.mean()) for i, r in enumerate(returns)}
        self.metrics.append(metrics)
        self.files.write(metrics)
        self.reporter.evaluation(metrics)
        self._keep_best(state, returns.mean(axis=1), metrics)
        self._write_summary()

    def _train_names(self, compiled: Mapping[str, Any]) -> list[str]:
        return list(compiled["epoch"].out_tree.unflatten([0] * compiled["epoch"].out_tree.num_leaves)[1])

    def _keep_best(self, state: TrainState, returns: np.ndarray, metrics: Mapping[str, Any]) -> None:
        """Write the policy of the best seed when it beats every policy before it."""
        best = int(np.argmax(returns))
        if not returns[best] > self.best_return:
            return
        self.best_return = float(returns[best])
        actor, normalizer = jax.device_get((state.agent.params["actor"], state.normalizer))
        if self.config.train.num_seeds > 1:
            actor, normalizer = jax.tree.map(lambda x: x[best], (actor, normalizer))
        note = {"seed": self.config.train.seed + best} | {
            key: metrics[key] for key in ("env_steps", "gradient_steps", "eval/return_mean")
        }
        sizes = (self.trainer.observation_size, self.trainer.action_size)
        policy_file.save(self.directory / "checkpoints" / policy_file.BEST, self.config, actor, normalizer, sizes, note)

    def _write_summary(self) -> dict[str, Any]:
        summary = {
            "metrics": {key: plain_number(value) for key, value in self.metrics[-1].items()},
            "best_return": plain_number(self.best_return),
            "compile_seconds": self.compile_seconds,
            "train_seconds": self.train_seconds,
            "wall_seconds": time.perf_counter() - self.started,
            "interrupted": self.interrupt.signal is not None,
            "device": str(jax.devices()[0].device_kind),
            "versions": _versions(),
            "git_revision": _git_revision(),
        }
        write_atomically(self.directory / "summary.json", json.dumps(summary, indent=2) + "\n")
        return summary

    def _finish(self) -> Result:
        summary = self._write_summary()
        self.reporter.say(f"best return {self.best_return:.1f}; everything is in {self.directory}")
        return Result(self.directory, self.metrics, summary, self.interrupt.signal)


def _versions() -> dict[str, str]:
    names = ("jax", "jaxlib", "flax", "optax", "brax", "mujoco", "mujoco-mjx", "numpy")
    return {"sacbrax": sacbrax.__version__, "python": platform.python_version()} | {n: version(n) for n in names}


def _git_revision() -> str | None:
    """The commit of the source tree, when it is one."""
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _memory_line(trainer: Trainer, seeds: int) -> str:
    parts = predicted_bytes(trainer, seeds)
    listed = ", ".join(f"{name} {size / 2**20:,.1f} MiB" for name, size in parts.items())
    return f"memory on the device: {sum(parts.values()) / 2**20:,.1f} MiB ({listed})"


def _check_memory(trainer: Trainer, seeds: int) -> None:
    needed, limit = sum(predicted_bytes(trainer, seeds).values()), _device_bytes()
    if needed > limit:
        raise ConfigError(
            f"replay.capacity: the run needs {needed / 2**30:,.2f} GiB, the device has {limit / 2**30:,.2f} GiB; "
            "lower replay.capacity, env.num_envs or train.num_seeds"
        )


def _device_bytes() -> int:
    """Memory of one device; the machine's own for a CPU, or the container's limit."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    cgroup = Path("/sys/fs/cgroup/memory.max")
    if cgroup.exists() and (text := cgroup.read_text().strip()).isdigit():
        limits.append(int(text))
    return min(limits)
