"""Replace a file so that a reader sees the old or the new one, never half. Knows no format."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


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
