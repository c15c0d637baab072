"""The directory of a run: made or found, locked for one process, and compared with the configuration on resume.

Knows no training and no arrays.
"""

import contextlib
import dataclasses
import itertools
import os
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sacbrax import config as config_lib
from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.config import Config, ConfigError, flat, refuse_changed
from sacbrax.core.errors import MachineError
from sacbrax.core.files import LOCK, lock, refuse_foreign
from sacbrax.envs import engine_of

# What may change between two parts of one run: nothing that training depends on.
CHANGEABLE = (
    "train.total_env_steps",
    "train.max_bad_updates",
    "parallel.devices",
    "parallel.over",
    "parallel.threads",
    "parallel.process",  # and processes
    "parallel.coordinator",
    "parallel.join_seconds",
    "eval.",
    "checkpoint.",
    "logging.",
    "run.",
)
BEGUN = ("checkpoints", "metrics.jsonl", "progress.csv")  # there before the configuration is


class RunDirectory:
    """A run's directory while this process owns it; a context that gives it back.

    The lock is the kernel's, on an open file: it goes with the process, however that ends.
    """

    def __init__(self, path: Path, owner: bool = True, own_name: bool = False):
        self.path = path
        self._stack = contextlib.ExitStack()
        self._owner = owner
        self._own_name = own_name  # whether it is another one's if it exists

    @classmethod
    def of(cls, config: Config, owner: bool = True) -> "RunDirectory":
        """`run.dir`, or runs/<run.name>/<date-time>.

        One of several processes owns it; the others share its checkpoints, and log to a directory that goes with them.
        """
        if "://" in (config.run.dir or ""):
            raise ConfigError(
                f"run.dir: {config.run.dir} is no directory of this machine; choose one that is, and let "
                "checkpoint.mirror=URL copy finished checkpoints there"
            )
        default = Path("runs") / (config.run.name or "run") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        return cls(Path(config.run.dir or default), owner, own_name=config.run.dir is None)

    @property
    def checkpoints(self) -> Path:
        """Where they are."""
        return self.path / "checkpoints"

    def __enter__(self) -> "RunDirectory":
        if not self._owner:
            self.path = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sacbrax-")))
            (self.path / "checkpoints").mkdir()
            return self
        try:
            if self._own_name:
                self.path = _new(self.path)
            else:
                refuse_foreign(self.path, "run.dir", BEGUN, self._is_run)
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"run.dir: cannot write to {self.path}: {error.strerror}") from None
        self._own()
        return self

    def _own(self) -> None:
        self._lock = self._stack.enter_context(lock(self.path, "run.dir"))

    def mend(self) -> bool:
        """Make and own the directory again if somebody removed it; whether that was so.

        Raises OSError where that is refused, `RunError` where another process has made it and owns it.
        """
        with contextlib.suppress(FileNotFoundError):
            if not self._owner or os.path.samestat(os.stat(self.path / LOCK), os.fstat(self._lock.fileno())):
                return False
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._own()
        return True

    def _is_run(self) -> bool:
        """Whether a run is here: a complete checkpoint, or its configuration beside the folder for them."""
        try:
            if checkpoint_files.names(self.checkpoints):
                return True
            config_lib.load(self.path / "config.yaml")
        except (ConfigError, OSError):
            return False
        return self.checkpoints.is_dir()

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _new(path: Path) -> Path:
    """A directory made by this process: `path`, or where somebody was there in the same second `path`-2 and so on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in itertools.chain((path.name,), (f"{path.name}-{i}" for i in itertools.count(2))):
        try:
            (made := path.with_name(name)).mkdir()
        except FileExistsError:
            continue
        return made
    raise AssertionError("numbers do not end")


def check_unchanged(stored: Config, config: Config) -> None:
    """Raise `ConfigError` if `config` differs from a checkpoint's in a key that cannot change."""
    before, now = flat(stored), flat(config)
    for mapping in (before, now):
        mapping["parallel.shards"] = mapping["parallel.shards"] or 1
    before["env.engine"], now["env.engine"] = engine_of(stored.env), engine_of(config.env)
    if None not in (before["replay.prior"], now["replay.prior"]):
        before["replay.prior"] = now["replay.prior"]  # the place of a file may change; its rows are in the checkpoint
    if stored.env.engine is None and config.env.engine is not None:
        # Its release's default, which may have been another one: the state's shapes tell whether it was.
        before["env.engine"] = now["env.engine"]
    names = ", ".join(key.rstrip(".") for key in CHANGEABLE)
    refuse_changed(before, now, "the run in run.dir", f"of a run that goes on only {names} may change", CHANGEABLE)


def load_for_resume(run: str | Path, overrides: list[str]) -> Config:
    """The configuration of an existing run with overrides, for `--resume RUN`.

    A run directory may come from a stranger, so the class of an environment that it names is not imported unless the
    user names it too.
    """
    directory = existing(run)
    config = config_lib.load(directory / "config.yaml", overrides)
    check_place(directory, overrides)
    named = any(override.partition("=")[0].strip() == "env.name" for override in overrides)
    if config.env.imported and not named:
        raise ConfigError(f"env.name: the run imports {config.env.name}; add env.name={config.env.name} to allow it")
    return in_directory(config, directory)


def check_place(directory: Path, overrides: Sequence[str]) -> None:
    """Raise `ConfigError` if an override of `run.dir` names another directory than `--resume` does."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key.strip() == "run.dir" and Path(value).resolve() != directory.resolve():
            raise ConfigError(f"run.dir: {value}, but --resume goes on in {directory}; leave one of them out")


def existing(run: str | Path) -> Path:
    """The directory of a run that is there."""
    if not (Path(run) / "config.yaml").is_file():
        raise ConfigError(f"--resume: {run} holds no run (no config.yaml)")
    return Path(run)


def in_directory(config: Config, directory: Path) -> Config:
    """`config` with `run.dir`."""
    return dataclasses.replace(config, run=dataclasses.replace(config.run, dir=str(directory)))
