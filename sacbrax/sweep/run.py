"""A whole sweep: plan, group trials into programs, run what is not finished, rank.

Knows trials by their configurations; `execute` trains them, `results` shows what came out.
"""

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.config import Config, ConfigError
from sacbrax.core.files import lock, write_atomically
from sacbrax.core.signals import Interrupt
from sacbrax.sweep.execute import Local, Ray
from sacbrax.sweep.journal import Journal, Row
from sacbrax.sweep.program import Program
from sacbrax.sweep.search import next_trials
from sacbrax.sweep.space import Range
from sacbrax.sweep.spec import Sweep


def run(sweep: Sweep, quiet: bool = False) -> Journal:
    """Run or go on with a sweep; every finished program is on the disk at once.

    Raises `ConfigError`, and `RunError` where the machine is at fault, which leaves trials to be run.
    """
    from sacbrax.training.trainer import Trainer

    console = Console(stderr=True, highlight=False, quiet=quiet)
    Trainer(sweep.trial({}))  # a task that does not exist is the file's mistake, not a failed trial
    journal = Journal(sweep)
    with Interrupt(), lock(sweep.directory, "dir"):  # a signal between two runs ends the sweep in order
        console.print(f"sweep directory {sweep.directory}", soft_wrap=True, markup=False)
        executor = Ray(sweep) if sweep.config.executor == "ray" else Local(sweep)
        while rows := next_trials(sweep, journal):
            programs = list(_programs(sweep, rows))
            console.print(f"{len(rows)} trials to run, in {len(programs)} programs")
            # Each is judged among those that ended before it begins.
            for finished in executor.run(replace(program, others=_others(program, journal)) for program in programs):
                journal.finish(finished)
                if not sweep.config.keep_checkpoints:  # not before it is on the disk what they came to
                    _remove_checkpoints(finished)
                left = len(journal.planned())
                console.print(f"{_news(finished, sweep)}; {left} left", soft_wrap=True, markup=False)
    return journal


def _programs(sweep: Sweep, rows: Sequence[Row]) -> Iterator[Program]:
    """Trials of one shape next to each other, and together in one program where that is wanted."""
    from sacbrax.sweep.trials import signature

    groups: dict[str, list[tuple[Row, Config]]] = defaultdict(list)
    for row in rows:
        config = sweep.trial(row["parameters"])
        groups[signature(config)].append((row, config))
    population, pruner = sweep.config.search == "pbt", sweep.config.pruner != "none"
    if population:
        _check_one_program(sweep)
    for group in groups.values():
        slots = _slots(sweep, group[0][1], len(group)) if pruner and len(group) > 1 else None
        if population:
            size = sweep.config.trials_per_program or len(group)
        elif slots is not None:
            size = len(group)
        else:
            size = _trials_per_program(sweep, group[0][1]) if _side_by_side(sweep) else 1
        for start in range(0, len(group), size):
            part = group[start : start + size]
            numbers = [row["trial"] for row, _ in part]
            name = f"trial_{numbers[0]:04d}" + (f"_to_{numbers[-1]:04d}" if len(part) > 1 else "")
            directory = sweep.directory / "runs" / name
            yield Program([row for row, _ in part], [config for _, config in part], directory, slots)


def _check_one_program(sweep: Sweep) -> None:
    """A number that switches a term on where it is not zero or null would do nothing in a program without the term."""
    from sacbrax.sweep.trials import signature

    own = sweep.parameters()[0]
    for key, values in sweep.space.items():
        ends = (values.low, values.high) if isinstance(values, Range) else values
        if len({signature(sweep.trial(own | {key: value})) for value in ends}) > 1:
            raise ConfigError(
                f"vary.{key}: members of a population share one program, but some of these values add a term that "
                "others do not have; leave out 0 and null"
            )


def _slots(sweep: Sweep, config: Config, trials: int) -> int:
    """Side by side with a pruner: as the option says, or as many as come through the first judgement."""
    wanted = sweep.config.trials_per_program or max(2, -(-trials // sweep.config.asha.factor))
    # Where trials begin there are two states for a moment.
    return max(2, min(wanted, trials, _fitting(config) // 2))


def _others(program: Program, journal: Journal) -> list[list[float]]:
    """Curves that the trials of a program are judged among; kept in a file, for one that goes on must see the same."""
    if program.slots is None:
        return []
    file = program.directory.with_suffix(".others.json")
    if file.exists():
        return [[math.nan if x is None else x for x in curve] for curve in json.loads(file.read_text(encoding="utf-8"))]
    curves = [row["curve"] for row in journal.rows if "curve" in row]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(curves) + "\n")
    return [[math.nan if x is None else x for x in curve] for curve in curves]


def _side_by_side(sweep: Sweep) -> bool:
    if sweep.config.vmap != "auto":
        return sweep.config.vmap == "true"
    import jax

    return jax.default_backend() != "cpu"


def _trials_per_program(sweep: Sweep, config: Config) -> int:
    """As many as the option says and the device holds."""
    fitting = _fitting(config)
    return min(fitting, sweep.config.trials_per_program or fitting)


def _fitting(config: Config) -> int:
    """Trials that nine tenths of the device's memory hold."""
    from sacbrax.training.memory import check_memory, device_bytes
    from sacbrax.training.trainer import Trainer

    trainer, seeds = Trainer(config), config.train.num_seeds
    needed = sum(check_memory(trainer, seeds).values())
    return max(1, int(0.9 * device_bytes() / needed))


def _remove_checkpoints(rows: Sequence[Row]) -> None:
    """Of programs that came to their end."""
    for directory in {Path(row["run"]) / "checkpoints" for row in rows if "run" in row}:
        for name in checkpoint_files.names(directory):
            shutil.rmtree(directory / name)


def _news(rows: Sequence[Row], sweep: Sweep) -> str:
    scores = [row["score"] for row in rows if row.get("score") is not None]
    name = ", ".join(str(row["trial"]) for row in rows[:8]) + (", ..." if len(rows) > 8 else "")
    if not scores:
        return f"trial {name}: failed ({rows[0].get('error')})"
    best = max(scores) if sweep.config.direction == "maximize" else min(scores)
    return f"trial {name}: {sweep.config.metric} {best:.2f}" + (" at best" if len(rows) > 1 else "")
