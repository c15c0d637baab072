"""Checkpoints: a pytree of arrays and the host's notes, written whole or not at all, and read back with suspicion.

A checkpoint is a directory `<env steps>-<evaluations>` of

    manifest.json   format version, notes of the host, what arrays, size and CRC-32 of every file
    arrays/         the arrays, by orbax, uncompressed and without pickle

It is written under a hidden name and renamed when everything is on the disk, so a name that matches is a whole one.
Reading trusts nothing: names, sizes, checksums and shapes are compared before an array is allocated. Knows no training.
"""

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax.checkpoint import manifest
from sacbrax.checkpoint.manifest import CheckpointError, DamagedError
from sacbrax.core.errors import one_line

NAME = re.compile(r"(\d{12,})-(\d{6,})")  # padded with zeros as far as runs usually come
Shapes = Mapping[str, tuple[tuple[int, ...], str]]  # what an array must be: shape and dtype by name


def checkpoint_name(env_steps: int, evaluations: int) -> str:
    """Tells the progress; the same moment before and after its evaluation are two checkpoints."""
    return f"{env_steps:012d}-{evaluations:06d}"


def names(directory: Path) -> list[str]:
    """Complete checkpoints in `directory`, oldest first."""
    try:
        found = [match for entry in directory.iterdir() if (match := NAME.fullmatch(entry.name))]
    except FileNotFoundError:
        return []
    return [match.group() for match in sorted(found, key=lambda match: [int(number) for number in match.groups()])]


def write(
    directory: Path,
    name: str,
    arrays: Mapping[str, Any],
    notes: Mapping[str, Any],
    keep: int,
    first: bool = True,
    wait: Callable[[str], None] = lambda place: None,
) -> None:
    """Write one checkpoint, then remove all but the newest `keep`. Raises `CheckpointError`; nothing is lost then.

    Several processes call this together with the same device arrays: orbax has each write its own part of them, and the
    first does the rest. `wait` returns when all processes have come there.
    """
    target, temporary = directory / name, directory / f".writing-{name}"
    try:
        if first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            _ask_for_room(temporary / "room", arrays)
        wait(f"begin {name}")
        # orbax refuses empty arrays; their shape, in the manifest, says everything.
        _orbax().save((temporary / "arrays").absolute(), {key: array for key, array in arrays.items() if array.size})
        if not first:
            wait(f"end {name}")
            return
        manifest.write(temporary, notes, arrays)
        temporary.rename(target)
        manifest.sync_directory(directory)
        wait(f"end {name}")
    except Exception as error:  # orbax and tensorstore have exception types of their own for a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"checkpoint {name} could not be written: {one_line(error)}") from error
    for old in names(directory)[:-keep]:
        # Out of sight first: a half-removed directory must not pass for a checkpoint.
        with contextlib.suppress(OSError):  # somebody else was here
            hidden = (directory / old).rename(directory / f".removing-{old}")
            shutil.rmtree(hidden, ignore_errors=True)


def clean(directory: Path) -> None:
    """Remove what a killed process left half-written; only the holder of the run's lock may call this."""
    for pattern in (".writing-*", ".removing-*"):
        for left in directory.glob(pattern):
            shutil.rmtree(left, ignore_errors=True)


def set_aside(directory: Path, name: str) -> None:
    """Take a damaged checkpoint out of the sequence, for whoever wants to look into it."""
    aside = directory / f"{name}.damaged"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        (directory / name).rename(aside)
    except OSError as error:
        raise CheckpointError(f"{directory / name}: damaged, and cannot be renamed: {error.strerror}") from error


def read(
    path: Path,
    expected: Callable[[dict[str, Any]], Shapes],
    first: bool = True,
    shardings: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and notes of a checkpoint; `expected(notes)` says what the arrays must be, before any is allocated.

    Several processes read together: the first compares the files with their checksums, and with `shardings` each gets
    its part of device arrays instead of whole ones in its memory.
    Raises `DamagedError` when it is not as it was written, `CheckpointError` when it is of another kind.
    """
    body = manifest.read_verified(path) if first else manifest.read(path)
    want = {key: [list(shape), dtype] for key, (shape, dtype) in expected(body["notes"]).items()}
    if body["arrays"] != want:
        key = min(key for key in {*want, *body["arrays"]} if want.get(key) != body["arrays"].get(key))
        raise CheckpointError(
            f"{path}: {key} is {body['arrays'].get(key)} in the checkpoint, the configuration needs {want.get(key)}"
        )
    stored = {key: spec for key, spec in want.items() if 0 not in spec[0]}
    try:
        tree = _orbax().metadata((path / "arrays").absolute()).item_metadata.tree
        found = {key: [list(entry.shape), np.dtype(entry.dtype).name] for key, entry in tree.items()}
        if found != stored:
            raise DamagedError(f"{path}: the arrays are not those that the manifest lists")
        arrays = _orbax().restore((path / "arrays").absolute(), restore_args=_restore_args(stored, shardings))
    except CheckpointError:
        raise
    except Exception as error:
        raise DamagedError(f"{path}: unreadable ({one_line(error)})") from error
    empty = {key: np.zeros(shape, dtype) for key, (shape, dtype) in want.items() if key not in stored}
    if shardings is None:
        arrays = {key: np.asarray(array) for key, array in arrays.items()}
    return arrays | empty, body["notes"]


def notes(path: Path) -> dict[str, Any]:
    """The notes of a checkpoint, whose arrays may yet turn out damaged. Raises `CheckpointError`."""
    return manifest.read(path)["notes"]


def _ask_for_room(file: Path, arrays: Mapping[str, Any]) -> None:
    """Let a full disk or a quota refuse here, in one clear error: in its midst orbax fails at length."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    needed = sum(array.nbytes + 1024 for array in arrays.values()) + 64 * 1024
    with file.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, needed)
    file.unlink()


def _orbax() -> Any:
    """Uncompressed: training data hardly compress, and a file's size then says how much it unpacks to."""
    import orbax.checkpoint as ocp  # takes most of a second to import, and readers of policies do not need it

    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_compression=False))


def _restore_args(keys: Mapping[str, Any], shardings: Mapping[str, Any] | None) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    if shardings is not None:
        return {key: ocp.ArrayRestoreArgs(sharding=shardings[key]) for key in keys}
    return {key: ocp.RestoreArgs(restore_type=np.ndarray) for key in keys}


class Writer:
    """Writes checkpoints in a thread, one at a time, while training goes on; `then` is told, there, of each."""

    def __init__(self, directory: Path, keep: int, then: Callable[[str], None] = lambda name: None):
        self._directory, self._keep, self._then = directory, keep, then
        self._thread: threading.Thread | None = None
        self.error: CheckpointError | None = None  # of the last write, if it failed
        self.seconds = 0.0  # that the last write took, and what came then

    @property
    def busy(self) -> bool:
        """Whether a write is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, name: str, arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> None:
        """Begin to write; waits for the write before it. The arrays and notes must not change from now on."""
        self.wait()
        self.error = None
        self._thread = threading.Thread(target=self._write, args=(name, arrays, notes), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is being written any more."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, name: str, arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> None:
        begin = time.perf_counter()
        try:
            write(self._directory, name, arrays, notes, self._keep)
            self._then(name)
        except CheckpointError as error:
            self.error = error
        self.seconds = time.perf_counter() - begin
