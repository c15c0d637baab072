"""The manifest of a checkpoint: what it holds, and the size and CRC-32 of every file, so that damage is found.

Reading trusts nothing: a file that is missing, changed or not listed is damage, and so is a link. Knows nothing of how
arrays are stored.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacbrax.core.errors import RunError, one_line

FORMAT_VERSION = 2
MAX_BYTES = 256 * 2**20
NAME = "manifest.json"


class CheckpointError(RunError):
    """A checkpoint cannot be read or written; one line for the user."""


class DamagedError(CheckpointError):
    """This checkpoint is incomplete or altered; an older one may be sound."""


def write(path: Path, notes: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """The last file of a checkpoint in `path`; everything is on the disk then. notes: of the host, ready for JSON."""
    body = {
        "format_version": FORMAT_VERSION,
        "notes": dict(notes),
        "arrays": {key: [list(array.shape), array.dtype.name] for key, array in arrays.items()},
        "files": {file: fingerprint(path / file) for file in _files(path)},
    }
    text = json.dumps(body, allow_nan=False)
    with (path / NAME).open("w", encoding="utf-8") as file:
        file.write(json.dumps({"crc32": zlib.crc32(text.encode()), "body": text}))
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path)


def read_verified(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose every file is as it was written. Raises `CheckpointError`."""
    try:
        body = read(path)
        listed = body["files"]
        found = _files(path)
        if sorted(found) != sorted(listed):
            odd = sorted(set(found) ^ set(listed))[0]
            raise DamagedError(f"{path}: {odd} is {'missing' if odd in listed else 'not part of it'}")
        for file in found:
            size, crc = listed[file]
            if (path / file).stat().st_size != size:
                raise DamagedError(f"{path}: {file} has another size")
            if fingerprint(path / file) != [size, crc]:
                raise DamagedError(f"{path}: {file} has another checksum")
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise DamagedError(f"{path}: unreadable ({one_line(error)})") from error
    return body


def read(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, whose files may yet turn out damaged. Raises `CheckpointError`."""
    file = path / NAME
    if path.is_symlink() or file.is_symlink() or not file.is_file():
        raise DamagedError(f"{path}: manifest.json is missing")
    if file.stat().st_size > MAX_BYTES:
        raise DamagedError(f"{path}: manifest.json is too large")
    try:
        envelope = json.loads(file.read_bytes())
        if zlib.crc32(envelope["body"].encode()) != envelope["crc32"]:
            raise DamagedError(f"{path}: manifest.json has another checksum")
        body = json.loads(envelope["body"])
        version = body["format_version"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path}: manifest.json is unreadable ({one_line(error)})") from None
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: format version {version!r}, this release reads {FORMAT_VERSION}")
    for key in ("notes", "arrays", "files"):
        if not isinstance(body.get(key), dict):
            raise DamagedError(f"{path}: manifest.json has no {key}")
    return body


def _files(path: Path) -> list[str]:
    """Every file below `path` but the manifest, relative. Links and special files have no place in a checkpoint."""
    found = []
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            entry = Path(folder) / name
            if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                raise DamagedError(f"{path}: {name} is neither a file nor a directory")
        found += [str((Path(folder) / name).relative_to(path)) for name in files]
    return sorted(set(found) - {NAME})


def fingerprint(file: Path) -> list[int]:
    """Size and CRC-32: against accidents. Whoever can write the manifest can write anything that it lists."""
    size = crc = 0
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]


def sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
