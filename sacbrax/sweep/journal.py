"""The state of a sweep on the disk: one line per trial in trials.jsonl, and the base configuration beside it.

A line is planned, done or failed. The file is replaced whole, so that whatever ends the process, it holds every
finished trial. Knows no JAX.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sacbrax import config as config_lib
from sacbrax.config import ConfigError, flat, refuse_changed
from sacbrax.core.errors import RunError
from sacbrax.core.files import refuse_foreign, write_atomically
from sacbrax.sweep.spec import Sweep

Row = dict[str, Any]


class Journal:
    """The trials of one sweep directory, by number."""

    def __init__(self, sweep: Sweep):
        self.directory = sweep.directory
        self.rows: list[Row] = []
        self._file, self._base = self.directory / "trials.jsonl", self.directory / "base.yaml"
        self._search = self.directory / "search.json"
        base = sweep.trial({})
        refuse_foreign(self.directory, "dir", [self._base.name, self._search.name], self._file.exists)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if self._file.exists():
                self._compare(base)
                self._compare_search(sweep)
                self.rows = [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]
                if [row["trial"] for row in self.rows] != list(range(len(self.rows))):
                    raise ValueError
                for row in self.rows:  # which may be asked for another score than when they ended
                    if row.get("score") is not None:
                        row["score"] = row.get(sweep.config.score, row["score"])
            else:
                write_atomically(self._base, base.to_yaml())
                write_atomically(self._search, json.dumps(_decisive(sweep), indent=2) + "\n")
        except ConfigError:
            raise
        except OSError as error:
            raise ConfigError(f"dir: cannot use {self.directory}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError):
            raise ConfigError(f"dir: {self._file} is no journal of a sweep; choose another dir") from None

    def plan(self, parameters: Iterable[Mapping[str, Any]]) -> None:
        """Say what trials there are, from number 0; those that are there must be the same. Raises `ConfigError`."""
        for i, wanted in enumerate(parameters):
            if i == len(self.rows):
                self.rows.append({"trial": i, "status": "planned", "parameters": dict(wanted)})
            elif self.rows[i]["parameters"] != dict(wanted):
                raise ConfigError(
                    f"dir: {self.directory} holds another sweep: its trial {i} has {self.rows[i]['parameters']}, this "
                    f"one {dict(wanted)}; choose another dir"
                )
        self._write()

    def finish(self, rows: Iterable[Row]) -> None:
        """Record finished trials."""
        for row in rows:
            self.rows[row["trial"]] = row
        self._write()

    def planned(self) -> list[Row]:
        """Trials that are still to run."""
        return [row for row in self.rows if row["status"] == "planned"]

    def ranked(self, direction: str) -> list[Row]:
        """All trials, the best first, those without a score last."""
        sign = -1 if direction == "maximize" else 1
        return sorted(self.rows, key=lambda row: (row.get("score") is None, sign * (row.get("score") or 0.0)))

    def _write(self) -> None:
        try:
            write_atomically(self._file, "".join(json.dumps(row) + "\n" for row in self.rows))
        except OSError as error:
            raise RunError(f"dir: cannot write {self._file}: {error.strerror}") from None

    def _compare_search(self, sweep: Sweep) -> None:
        """What scores mean must stay, and what decides in the middle of a run who goes on: it would be others after a
        checkpoint."""
        if not self._search.exists() and sweep.config.search != "pbt" and sweep.config.pruner == "none":
            return  # of a release that kept it of populations and pruners alone
        before = json.loads(self._search.read_text(encoding="utf-8")) if self._search.exists() else {}
        now = _decisive(sweep)
        before.setdefault("trials_per_program", now.get("trials_per_program"))  # populations of an earlier release
        self._refuse_changed(before, now)

    def _compare(self, base: config_lib.Config) -> None:
        """The configuration of the trials that are there must be this one."""
        self._refuse_changed(flat(config_lib.load(self._base)), flat(base))

    def _refuse_changed(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        refuse_changed(before, now, f"the sweep in {self.directory}", "choose another dir", free=("run.name",))


def _decisive(sweep: Sweep) -> dict[str, Any]:
    """Keys of the sweep that its lines depend on, and where there is a population or a pruner its runs."""
    config = sweep.config
    names: tuple[str, ...]
    section = None
    if config.search == "pbt":
        names, section = ("search", "metric", "direction", "seed", "vary"), "pbt"
    elif config.pruner != "none":
        names, section = ("pruner", "metric", "direction", "trials_per_program"), "asha"
    elif config.search == "optuna":  # whose trials no other file says
        names = ("search", "metric", "direction", "vary", "variants")
    else:
        names = ("metric", "direction")
    values = {key: getattr(config, key) for key in names}
    if config.search == "pbt":  # of which the trials that are added would else be a population of another size
        values["trials_per_program"] = config.trials_per_program or config.trials
    if section is not None:
        values |= {f"{section}.{key}": value for key, value in vars(getattr(config, section)).items()}
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
