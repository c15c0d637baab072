"""Compiled programs on disk, for the next process that compiles the same: JAX's cache, kept from growing for ever.

JAX has a limit of its own (`jax_compilation_cache_max_size`), which needs a lock that network file systems may not
have, and fails on every entry that was written before there was a limit. Nothing else deletes.
"""

from pathlib import Path

LARGEST = 2**30  # bytes; a task's programs are 1 to 20 MB


def trim(folder: Path, largest: int = LARGEST) -> None:
    """Delete what was longest not read, until the files of `folder` are together no larger than `largest` [bytes].

    Another process may read, write and trim at the same time: what it deleted is gone, and a program that it was about
    to read it compiles.
    """
    entries = []
    try:
        for path in folder.iterdir():
            status = path.stat()
            # File systems mounted without times of access have those of writing.
            entries.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    except OSError:  # no folder yet, or one that changes under our hands: the next process has its turn
        return
    size = sum(size for _, size, _ in entries)
    for _, own, path in sorted(entries):
        if size <= largest:
            return
        try:
            path.unlink(missing_ok=True)
        except OSError:  # not ours to delete
            continue
        size -= own
