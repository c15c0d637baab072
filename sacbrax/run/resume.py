"""When a run saves and what it goes on from: the checkpoints of one run directory and the host's share of the state.

Knows the state as a tree of arrays, not what they mean; `checkpoint.files` knows the files.
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacbrax import config as config_lib
from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.checkpoint import state_arrays
from sacbrax.checkpoint.manifest import CheckpointError, DamagedError
from sacbrax.checkpoint.mirror import Mirror, MirrorError
from sacbrax.config import Config, ConfigError
from sacbrax.core.machine import versions
from sacbrax.parallel import processes
from sacbrax.run.directory import RunDirectory, check_unchanged
from sacbrax.run.progress import Progress
from sacbrax.sinks.console import Reporter

TIME_SHARE = 0.05  # of a run's time that checkpoints may take where their interval is not configured


def stored_shards(config: Config) -> int | None:
    """Shards of the run that is in `run.dir`; None where there is none yet."""
    directory = Path(config.run.dir or "") / "checkpoints"
    found: list[str] = []
    with contextlib.suppress(OSError):  # who opens the directory says what is wrong with it
        found = checkpoint_files.names(directory) if config.run.dir else []
    for name in reversed(found):
        with contextlib.suppress(CheckpointError, ConfigError, KeyError, TypeError, AttributeError, OSError):
            notes = checkpoint_files.notes(directory / name)
            return config_lib.parse(notes["config"], "the configuration in the checkpoint").parallel.shards or 1
    return None


class Store:
    """The checkpoints of one run. `template`: {"state": TrainState, "sums": ...} as shapes."""

    def __init__(self, config: Config, directory: RunDirectory, template: Any, reporter: Reporter):
        self.template = template
        self.newest: str | None = None  # complete checkpoint
        self._config, self._reporter = config, reporter
        self._run, self._directory = directory.path, directory.checkpoints
        self._writer = checkpoint_files.Writer(self._directory, config.checkpoint.keep, self._copy)
        self._mirror = self._open_mirror()
        self._writing: str | None = None
        self._last_iteration: int | None = None  # of the last save
        self._last_time, self._copy_seconds = 0.0, 0.0

    def restore(self) -> tuple[Any, Progress]:
        """Tree on the device and progress of the newest sound checkpoint; (None, fresh progress) for a new run.

        Raises `ConfigError` if the configuration belongs to another run, `CheckpointError` when there are checkpoints
        but none is sound: nothing in the run directory is changed then.
        """
        damaged: dict[str, DamagedError] = {}
        found = processes.agree_text(" ".join(checkpoint_files.names(self._directory))).split()
        first, placed = processes.first(), state_arrays.shardings(self.template) if processes.several() else None
        for name in reversed(found):
            try:
                arrays, notes = checkpoint_files.read(self._directory / name, self._expected, first, placed)
            except DamagedError as error:
                damaged[name] = error
            if not processes.largest(name in damaged):
                break
            damaged.setdefault(name, DamagedError(f"{self._directory / name}: unreadable for another process"))
        else:
            if found:
                raise CheckpointError(f"no checkpoint is sound, nothing was changed; the newest: {damaged[found[-1]]}")
            self._check_new()
            self._clean({})
            return None, Progress()
        self._clean(damaged)
        for problem in damaged.values():
            self._reporter.warn(f"{problem}; going on from checkpoint {name}")
        self._reporter.say(f"going on from checkpoint {name}")
        if notes["versions"] != versions():
            self._reporter.warn("other versions wrote this checkpoint: numbers may differ in the last bits")
        progress = Progress.from_notes(notes)
        self.newest, self._last_iteration, self._last_time = name, progress.iteration, time.perf_counter()
        return state_arrays.put(arrays, self.template), progress

    def _clean(self, damaged: Mapping[str, Any]) -> None:
        if processes.first():
            checkpoint_files.clean(self._directory)
            for name in damaged:
                checkpoint_files.set_aside(self._directory, name)
        processes.wait("clean")

    @property
    def next_iteration(self) -> int | None:
        """Where the next checkpoint is due; None when it follows an evaluation."""
        every = self._config.iterations_per_checkpoint
        return None if every is None or self._last_iteration is None else self._last_iteration + every

    def due(self, progress: Progress, evaluated_now: bool) -> bool:
        """Whether to save now."""
        if self._last_iteration is None:
            return True
        if self.next_iteration is not None:
            return progress.iteration >= self.next_iteration
        cost = self._copy_seconds + self._writer.seconds
        return evaluated_now and not self._writer.busy and time.perf_counter() - self._last_time >= cost / TIME_SHARE

    def save(self, tree: Any, progress: Progress) -> None:
        """Copy the tree to the host and write it in the background; the first one of a run is waited for.

        A write that fails is a warning, and the next one tries again; only `finish` insists.
        """
        self._collect()
        name = checkpoint_files.checkpoint_name(progress.iteration * self._config.env.num_envs, len(progress.rows))
        if name == self.newest:
            return
        first = self._last_iteration is None
        begin = time.perf_counter()
        arrays = state_arrays.together(tree) if processes.several() else state_arrays.take(tree)
        notes = progress.to_notes() | {
            "fill": arrays[state_arrays.ROWS].shape[-2],
            "config": self._config.to_yaml(),
            "versions": versions(),
        }
        if processes.several():  # no thread: it would have to wait for those of others while training waits too
            keep = self._config.checkpoint.keep
            checkpoint_files.write(self._directory, name, arrays, notes, keep, processes.first(), processes.wait)
            self.newest = name
            self._copy(name)
        else:
            self._writing = name
            self._writer.start(name, arrays, notes)
        self._last_iteration, self._last_time = progress.iteration, time.perf_counter()
        self._copy_seconds = self._last_time - begin
        if first:  # a run that cannot save at all should say so now
            self.finish()

    def finish(self) -> None:
        """Wait for the last write. Raises `CheckpointError` if it failed."""
        self._writer.wait()
        if self._writer.error is not None:
            raise CheckpointError(f"{self._writer.error}; the newest complete one is {self.newest or 'none'}")
        self._collect()

    def close(self) -> None:
        """Wait for the last write, whatever becomes of it."""
        self._writer.wait()
        self._collect()

    def _open_mirror(self) -> Mirror | None:
        url = self._config.checkpoint.mirror
        if url is None or not processes.first():
            return None
        mirror = Mirror(url, self._run, self._config.checkpoint.keep)
        try:
            mirror.refuse_foreign()
        except MirrorError as error:
            self._reporter.warn(f"{error}; training goes on")
        return mirror

    def _copy(self, name: str) -> None:
        """Copy a checkpoint that is written. One that fails is a warning: the next one tries again."""
        if self._mirror is not None:
            try:
                self._mirror.copy(name)
            except MirrorError as error:
                self._reporter.warn(f"{error}; training goes on")

    def _collect(self) -> None:
        self._writer.wait()
        if self._writer.error is not None:
            self._reporter.warn(f"{self._writer.error}; training goes on")
            self._writer.error = None
        elif self._writing is not None:
            self.newest = self._writing
        self._writing = None

    def _expected(self, notes: Mapping[str, Any]) -> checkpoint_files.Shapes:
        """What the arrays must be, once the notes are found sound and of this run."""
        try:
            stored = config_lib.parse(notes["config"], "the configuration in the checkpoint")
            Progress.from_notes(notes)
            fill = notes["fill"]
            capacity = self.template["state"].replay.capacity
            if type(fill) is not int or not 0 < fill <= capacity or not isinstance(notes["versions"], dict):
                raise ValueError("the replay is larger than its capacity")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DamagedError(f"the notes of a checkpoint in {self._directory} are unusable ({error})") from None
        check_unchanged(stored, self._config)
        return state_arrays.shapes(self.template, fill)

    def _check_new(self) -> None:
        """A run killed before its first checkpoint has at most one evaluation, and may begin again."""
        try:
            lines = (self._run / "metrics.jsonl").read_bytes().count(b"\n")
        except FileNotFoundError:
            return
        if lines > 1:
            raise CheckpointError(
                f"{self._run} holds {lines} evaluations but no checkpoint to go on from; nothing was changed; "
                "remove it, or choose another run.dir"
            )
