"""Finished checkpoints copied to another place by fsspec: an object store, another disk, whatever has a URL there.

Below the URL a folder with the name of the run directory is laid out as that directory is, so that it can be copied
back and gone on with. Of a checkpoint the manifest, which lists all other files, comes last: what is half there is
known by its absence.
"""

from pathlib import Path
from typing import Any

from sacbrax.checkpoint import manifest
from sacbrax.checkpoint.files import NAME, names
from sacbrax.core import trials_file
from sacbrax.core.errors import ConfigError, one_line

KEY = "checkpoint.mirror"
BESIDE = ("config.yaml", "metrics.jsonl", "progress.csv", "summary.json", trials_file.NAME)  # and every policy


class MirrorError(Exception):
    """What went wrong with a copy, in one line."""


class Mirror:
    """The copy of one run. Raises ConfigError where the URL is none that fsspec knows."""

    def __init__(self, url: str, run: Path, keep: int):
        self.place, self._run, self._keep = f"{url.rstrip('/')}/{run.resolve().name}", run, keep
        try:
            import fsspec

            self._system, self._root = fsspec.url_to_fs(self.place)
        except Exception as error:  # its package is not installed, or whatever that package has against the URL
            missing = "; pip install 'sacbrax[mirror]'" if getattr(error, "name", "") == "fsspec" else ""
            raise ConfigError(f"{KEY}: {url}: {one_line(error)}{missing}") from None
        self._checkpoints = f"{self._root}/checkpoints"
        self._sent: dict[Path, int] = {}  # when what is there was written

    def refuse_foreign(self) -> None:
        """Raise ConfigError if a run that begins has another one's place, `MirrorError` where that cannot be seen."""
        if not names(self._run / "checkpoints") and self._names():
            raise ConfigError(
                f"{KEY}: {self.place} holds the checkpoints of a run; copy it to run.dir to go on with it, or choose "
                "another name for run.dir"
            )

    def copy(self, name: str) -> None:
        """Copy a checkpoint and what belongs to it, then remove all but the newest. Raises `MirrorError`."""
        source = self._run / "checkpoints" / name
        try:
            files = sorted(path for path in source.rglob("*") if path.is_file())
            for path in sorted(files, key=lambda path: path == source / manifest.NAME):
                self._put(path)
            beside = [self._run / name for name in BESIDE] + sorted((self._run / "checkpoints").glob("**/*.npz"))
            for path in filter(Path.is_file, beside):
                self._put(path)
            for old in self._names()[: -self._keep]:
                if self._system.exists(listing := f"{self._checkpoints}/{old}/{manifest.NAME}"):
                    self._system.rm_file(listing)  # so that what is half removed does not pass for a checkpoint
                self._system.rm(f"{self._checkpoints}/{old}", recursive=True)
        except MirrorError:
            raise
        except Exception as error:  # every service has its own
            raise MirrorError(f"{KEY}: {name} was not copied to {self.place}: {one_line(error)}") from error

    def _put(self, path: Path) -> None:
        written = path.stat().st_mtime_ns
        if self._sent.get(path) == written:
            return
        target = f"{self._root}/{path.relative_to(self._run).as_posix()}"
        self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._system.put_file(str(path), target)
        self._sent[path] = written

    def _names(self) -> list[str]:
        """Checkpoints that are there, oldest first, also those that are half there."""
        try:
            self._system.invalidate_cache()
            found: list[Any] = self._system.ls(self._checkpoints, detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise MirrorError(f"{KEY}: cannot look at {self.place}: {one_line(error)}") from error
        known = [match for entry in found if (match := NAME.fullmatch(str(entry).rstrip("/").rpartition("/")[2]))]
        return [match.group() for match in sorted(known, key=lambda match: [int(number) for number in match.groups()])]
