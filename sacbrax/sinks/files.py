"""The files of a run that grow by a row at every evaluation: metrics.jsonl and progress.csv."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sacbrax.core.files import write_atomically


class _Lines:
    """A text file that grows by whole lines: what a full disk refuses is kept and tried again with the next line."""

    def __init__(self, path: Path, text: str):
        write_atomically(path, text)
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._size = len(text.encode())
        self._pending = b""

    def append(self, text: str) -> None:
        """Write `text` and all that is pending. Raises OSError; the file then ends with a whole line as before."""
        self._pending += text.encode()
        rest = memoryview(self._pending)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(self._pending)
        self._pending = b""

    def lost(self) -> bool:
        """Whether the file is no longer there as it was written."""
        try:
            there, ours = os.stat(self.path), os.fstat(self._descriptor)
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, ours) or there.st_size != self._size

    def close(self) -> None:
        os.close(self._descriptor)


class MetricsFiles:
    """Streams one object per evaluation to metrics.jsonl and the same row to progress.csv.

    Both begin with the given rows, whatever they held: the rows of a checkpoint, or none.
    """

    def __init__(self, directory: Path, rows: Iterable[Mapping[str, Any]] = ()):
        rows = list(rows)
        self._directory, self._rows = directory, rows
        self._jsonl, self._csv, self._columns = self._new_jsonl(), *self._new_csv()

    def mend(self) -> list[str]:
        """Write anew, from all rows, what somebody removed or changed; the names of those files. Raises OSError."""
        lost = []
        if self._jsonl.lost():
            old, self._jsonl = self._jsonl, self._new_jsonl()
            old.close()
            lost.append(old.path.name)
        if self._csv.lost():
            old, (self._csv, self._columns) = self._csv, self._new_csv()
            old.close()
            lost.append(old.path.name)
        return lost

    def _new_jsonl(self) -> _Lines:
        return _Lines(self._directory / "metrics.jsonl", "".join(_json_line(row) for row in self._rows))

    def _new_csv(self) -> tuple[_Lines, list[str]]:
        columns = _columns(self._rows)
        return _Lines(self._directory / "progress.csv", _csv_text(self._rows, columns)), columns

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one evaluation of plain numbers. Raises OSError; the row is not lost, the next call writes it too."""
        self._rows.append(row)
        try:
            self._jsonl.append(_json_line(row))
        finally:
            if set(row) <= set(self._columns):
                self._csv.append(_csv_text([row], self._columns, header=False))
            else:  # the first row, or one of a newer release
                old, (self._csv, self._columns) = self._csv, self._new_csv()
                old.close()

    def flush(self) -> None:
        """Write what is pending. Raises OSError."""
        self._jsonl.append("")
        self._csv.append("")

    def close(self) -> None:
        """Close both files."""
        self._jsonl.close()
        self._csv.close()


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _csv_text(rows: Iterable[Mapping[str, Any]], columns: list[str], header: bool = True) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    if header and columns:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
