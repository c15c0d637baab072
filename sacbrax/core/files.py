"""Files replaced so that a reader sees the old or the new one, never half, and directories owned by one process."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any

from sacbrax.core.errors import MachineError, RunError

LOCK = ".lock"  # in a directory that a process owns or owned


@contextlib.contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file to write, mode "w" or "wb", that takes the place of `path` at the end of the block, synced to the disk.

    Raises OSError; `path` is what it was then.
    """
    temporary = path.with_name(path.name + ".tmp")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with temporary.open(mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a small file so that a reader sees the old or the new one, never half."""
    with replacing(path, "wb" if isinstance(content, bytes) else "w") as file:
        file.write(content)


def refuse_foreign(path: Path, key: str, begun: Collection[str], ours: Callable[[], bool]) -> None:
    """Raise `MachineError`, before anything is written, if `path` is a directory that holds somebody's files.

    Ours is what is absent or empty, what was locked and got no further than names of `begun`, and what `ours` knows.
    `key` is the option that names it.
    """
    try:
        found = {entry.name.removesuffix(".tmp") for entry in path.iterdir()}
    except OSError:  # none is there, or who opens it says what is wrong with it
        return
    started = LOCK in found and found <= {LOCK, *begun}
    if found and not started and not ours():
        raise MachineError(
            f"{key}: {path} holds other files ({min(found - {LOCK})}) and nothing to go on with; "
            "nothing was changed, choose a directory that is new or empty"
        )


@contextlib.contextmanager
def lock(path: Path, key: str) -> Iterator[IO[str]]:
    """Own the directory `path` while in the context, by the file that this gives.

    `key` is the option that names it, for messages.
    """
    try:
        file = (path / LOCK).open("a", encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{key}: cannot write to {path}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{path} is in use by another process") from None
        except OSError as error:
            raise MachineError(f"{key}: cannot lock {path}: {error.strerror}; choose a local directory") from None
        yield file
