"""Make a policy of the zoo: train with every seed in a fresh process, judge in Gymnasium, keep the best and the record.

What is there is not made again, so that a call that was interrupted goes on where it was.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from sacbrax import config as config_lib
from sacbrax.config import Config, ConfigError, flat, refuse_changed
from sacbrax.core.errors import RunError
from sacbrax.core.files import write_atomically
from sacbrax.policy_file.files import BEST, PRETRAINED
from sacbrax.view.metrics import RETURN, read_metrics
from sacbrax.zoo.records import Record, Seed, write

EPISODES = 100
SUMMARY, JUDGED = "summary.json", "gymnasium.json"
ELSEWHERE = ("run.", "logging.", "checkpoint.", "parallel.")  # keys of where and how a run is kept


def make(
    name: str, config: str, overrides: Sequence[str], seeds: Sequence[int], runs: Path, folder: Path = PRETRAINED
) -> Record:
    """Train `config` with each seed in runs/NAME/seed_S and put the best policy and the record into `folder`.

    Raises ConfigError for a configuration that is wrong, RunError when a command fails.
    """
    for seed in seeds:  # a mistake is said before anything is trained
        asked = config_lib.load(config, [*overrides, f"train.seed={seed}"])
        if asked.train.num_seeds > 1:  # the same agents again and again: a run has seeds beside its own
            raise ConfigError(f"train.num_seeds: a run of the zoo has one seed, got {asked.train.num_seeds}; say 1")
        _check_same(runs / name / f"seed_{seed}", asked)
    found = [_seed(runs / name / f"seed_{seed}", config, overrides, seed) for seed in seeds]
    shipped = max(found, key=lambda seed: max(value for _, _, value in seed.curve)).seed
    summary = _read(runs / name / f"seed_{shipped}" / SUMMARY)
    record = Record(
        name=name,
        config=config,
        overrides=list(overrides),
        commit=summary["git_revision"],
        date=date.today().isoformat(),
        hardware=summary["hardware"],
        versions=summary["versions"],
        engine="gymnasium",
        episodes=EPISODES,
        shipped=shipped,
        seeds=found,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.npz", (runs / name / f"seed_{shipped}" / "checkpoints" / BEST).read_bytes())
    write(record, folder)
    return record


def _check_same(run: Path, config: Config) -> None:
    """Raise ConfigError if a run that is there has another configuration than it would be trained with."""
    if not (run / SUMMARY).is_file():
        return
    before = config_lib.load(run / "config.yaml")
    refuse_changed(flat(before), flat(config), f"the run in {run}", "choose other --runs", ELSEWHERE)


def _seed(run: Path, config: str, overrides: Sequence[str], seed: int) -> Seed:
    """One seed's run, trained and judged where that has not been done."""
    if not (run / SUMMARY).is_file() or _read(run / SUMMARY)["interrupted"]:
        _command("train", config, *overrides, f"train.seed={seed}", f"run.dir={run}")
    if not (run / JUDGED).is_file():
        judged = _command(
            "evaluate", str(run), "--engine", "gymnasium", "--episodes", str(EPISODES), "--seed", "0", "--json"
        )
        write_atomically(run / JUDGED, judged)
    rows, judged_numbers, last = read_metrics(run), _read(run / JUDGED), _read(run / SUMMARY)["metrics"]
    return Seed(
        seed=seed,
        seconds=round(float(last["wall_seconds"]), 2),
        env_steps=int(last["env_steps"]),
        gradient_steps=int(last["gradient_steps"]),
        curve=[[round(row["wall_seconds"], 2), int(row["env_steps"]), round(row[RETURN], 3)] for row in rows],
        **{key: round(judged_numbers[key], 3) for key in ("return_mean", "return_std", "return_min")},
    )


def _command(name: str, *arguments: str) -> str:
    """A command of this package in a process of its own, as a user calls it; what it prints on standard output."""
    done = subprocess.run(
        [sys.executable, "-m", f"sacbrax.{name}", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise RunError(f"sacbrax {name} {' '.join(arguments)} ended with status {done.returncode}")
    return done.stdout


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
