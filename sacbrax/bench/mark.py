"""Seconds of whole training runs until an evaluation is at a mark: the first with no compiled program kept, then warm.

Every run is a process of its own, `python -m sacbrax.train`; its clock starts with the process.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sacbrax import config as config_lib
from sacbrax.cli import COUNT, file_first
from sacbrax.core.errors import RunError, last_line
from sacbrax.core.signals import Interrupt
from sacbrax.view import comparison

CACHE = "JAX_COMPILATION_CACHE_DIR"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("config", nargs="?", default="swimmer", help="YAML file or name, as for train (swimmer)")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values that replace the file's")
    parser.add_argument("--mark", type=float, default=345.6, metavar="R", help="mean return to come to (345.6)")
    parser.add_argument("--runs", type=COUNT, default=2, help="how many, of which the first is cold (2)")


def prepare(args: argparse.Namespace) -> None:
    """Mistakes in the configuration are found before anything runs."""
    config, args.overrides = file_first(args.config, args.overrides)
    args.config = config or "swimmer"
    args.loaded = config_lib.load(args.config, args.overrides)


def main(args: argparse.Namespace) -> dict[str, Any]:
    """One row a run. The runs' directories are gone afterwards."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.runs):
            run = Path(folder) / f"run{number}"
            _train([args.config, *args.overrides, f"run.dir={run}"], Path(folder) / "programs")
            rows.append({"start": "warm" if number else "cold"} | measured(run, args.mark))
    return {"config": args.config, "overrides": args.overrides, "mark": args.mark, "runs": rows}


def _train(words: list[str], programs: Path) -> None:
    command = [sys.executable, "-m", "sacbrax.train", *words]
    with Interrupt(raises=True):  # on whose way out the run is ended
        done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False,
                              env=os.environ | {CACHE: str(programs)})  # fmt: skip
    if done.returncode:
        raise RunError(f"train {words[0]}: {last_line(done.stderr, f'exit status {done.returncode}')}")


def measured(run: Path, mark: float) -> dict[str, Any]:
    """What a finished run took. `seconds_to_mark` and `env_steps_to_mark` are medians over its seeds, None where half
    of them or more did not come there."""
    (entry,) = comparison.compare(comparison.groups([str(run)]), comparison.Asked(mark=mark))
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    reached: Any = entry.mark
    return {
        "compile_seconds": summary["compile_seconds"],
        "seconds_to_mark": _known(reached.wall_seconds),
        "env_steps_to_mark": _known(reached.env_steps),
        "seeds": entry.seeds,
        "seeds_at_mark": reached.seeds,
        "seconds": entry.wall_seconds,
        "best_return": entry.best.value,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def print_table(result: dict[str, Any]) -> None:
    """A line for each run."""
    print(f"{result['config']} {' '.join(result['overrides'])}, to {result['mark']:g}")
    print(
        f"{'start':5} {'compile s':>10} {'s to mark':>10} {'seeds there':>12} {'whole run s':>12} {'best return':>12}"
    )
    for row in result["runs"]:
        reached = "-" if row["seconds_to_mark"] is None else f"{row['seconds_to_mark']:.1f}"
        there = f"{row['seeds_at_mark']} of {row['seeds']}"
        print(f"{row['start']:5} {row['compile_seconds']:10.1f} {reached:>10} {there:>12}", end=" ")
        print(f"{row['seconds']:12.1f} {row['best_return']:12.1f}")
