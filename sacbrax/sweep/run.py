"""A whole sweep: plan, group trials into programs, run what is not finished, rank.

Knows trials by their configurations; `execute` trains them, `results` shows what came out.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.console import Console

from sacbrax.config import Config, ConfigError
from sacbrax.core.files import lock
from sacbrax.core.signals import Interrupt
from sacbrax.sweep.execute import Local, Program, Ray
from sacbrax.sweep.journal import Journal, Row
from sacbrax.sweep.search import next_trials
from sacbrax.sweep.spec import Sweep


def run(sweep: Sweep, quiet: bool = False) -> Journal:
    """Run or go on with a sweep; every finished program is on the disk at once. Raises `ConfigError`."""
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
            for finished in executor.run(programs):
                journal.finish(finished)
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
    population = sweep.config.search == "pbt"
    if population and len(groups) > 1:
        raise ConfigError(
            "vary: members of a population share one program, but some values add a term that others do not have; "
            "leave out 0 and null"
        )
    for group in groups.values():
        if population:
            size = sweep.config.trials_per_program or len(group)
        else:
            size = _trials_per_program(sweep, group[0][1]) if _side_by_side(sweep) else 1
        for start in range(0, len(group), size):
            part = group[start : start + size]
            numbers = [row["trial"] for row, _ in part]
            name = f"trial_{numbers[0]:04d}" + (f"_to_{numbers[-1]:04d}" if len(part) > 1 else "")
            yield Program([row for row, _ in part], [config for _, config in part], sweep.directory / "runs" / name)


def _side_by_side(sweep: Sweep) -> bool:
    if sweep.config.vmap != "auto":
        return sweep.config.vmap == "true"
    import jax

    return jax.default_backend() != "cpu"


def _trials_per_program(sweep: Sweep, config: Config) -> int:
    """As many as the option says and nine tenths of the device's memory hold."""
    from sacbrax.training.memory import check_memory, device_bytes
    from sacbrax.training.trainer import Trainer

    trainer, seeds = Trainer(config), config.train.num_seeds
    needed = sum(check_memory(trainer, seeds).values())
    fitting = max(1, int(0.9 * device_bytes() / needed))
    return min(fitting, sweep.config.trials_per_program or fitting)


def _news(rows: Sequence[Row], sweep: Sweep) -> str:
    scores = [row["score"] for row in rows if row.get("score") is not None]
    name = ", ".join(str(row["trial"]) for row in rows[:8]) + (", ..." if len(rows) > 8 else "")
    if not scores:
        return f"trial {name}: failed ({rows[0].get('error')})"
    best = max(scores) if sweep.config.direction == "maximize" else min(scores)
    return f"trial {name}: {sweep.config.metric} {best:.2f}" + (" at best" if len(rows) > 1 else "")
