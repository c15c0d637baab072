"""What each trial of a program came to: its line of the journal."""

import contextlib
from typing import Any

import numpy as np

from sacbrax.config import ConfigError
from sacbrax.core import interquartile
from sacbrax.core.numbers import plain_number
from sacbrax.sweep import lineage
from sacbrax.sweep.journal import Row
from sacbrax.sweep.population import Members
from sacbrax.sweep.program import Program
from sacbrax.sweep.slots import Slots
from sacbrax.sweep.spec import SweepConfig
from sacbrax.sweep.trials import outcomes


def with_lineage(members: Members, finished: list[Row], program: Program, result: Any) -> list[Row]:
    """The same lines with what each member trained with at the end; who copied whom goes to the run's directory."""
    begin, rows = [row["parameters"] for row in program.rows], result.metrics
    # What the last evaluation would lead to comes before further training, of which there is none.
    exchanges, last, scores = members.exchanges(rows[:-1]), members.settings(rows[:-1]), members.scores(rows)
    steps = [row["env_steps"] for row in rows]
    lineage.write(program.directory, begin, exchanges, scores, steps)
    best = int(np.argmax(np.nan_to_num(members.sign * scores[-1], nan=-np.inf)))
    with contextlib.suppress(ConfigError):  # the results do not depend on matplotlib
        lineage.draw(program.directory, members.space, begin, exchanges, scores, steps, best)
    return [line | {"settings": dict(own)} for line, own in zip(finished, last, strict=True)]


def finished(sweep: SweepConfig, program: Program, result: Any, seconds: float) -> list[Row]:
    """The journal's lines of the trials of a program."""
    seeds, last = program.configs[0].train.num_seeds, result.metrics[-1]
    found = outcomes(result.metrics, result.summary["stuck_seeds"], len(program.rows), seeds, sweep.metric)
    lines = []
    for t, (row, table) in enumerate(zip(program.rows, found, strict=True)):
        line = row | {"status": "done", "run": str(program.directory), "seed_index": t * seeds, "seeds": seeds}
        line |= {"env_steps": last["env_steps"], "gradient_steps": last["gradient_steps"]}
        line |= {"seconds": seconds, "trials_of_program": len(program.rows)}
        lines.append(line | _scores(sweep, table))
    return lines


def halved(sweep: SweepConfig, program: Program, result: Any, seconds: float, slots: Slots) -> list[Row]:
    """The journal's lines of trials that followed each other in slots: done, or pruned by the best of their time."""
    rows, first = result.metrics, program.configs[0]
    table = slots.table(rows)  # [E, slots, S]
    stuck: np.ndarray = np.any(slots.stuck(rows), axis=2)
    lines = []
    for stay in slots.stays(rows):
        own = table[stay.begin + 1 : stay.end + 1 if stay.end is not None else None, stay.slot]  # [evaluations, S]
        iterations = len(own) * first.iterations_per_epoch
        line = program.rows[stay.trial] | {"status": "pruned" if stay.pruned else "done", "run": str(program.directory)}
        line |= {"env_steps": (first.exploration_iterations + iterations) * first.env.num_envs}
        line |= {"gradient_steps": first.gradient_steps(iterations), "seeds": first.train.num_seeds}
        line |= {"seconds": seconds, "trials_of_program": len(program.rows)}
        curve = list(map(plain_number, own.mean(axis=1).tolist()))
        line |= {"slot": stay.slot, "begin": stay.begin, "end": stay.end, "curve": curve}
        plain = [[plain_number(x) for x in row] for row in own.tolist()]
        lines.append(line | _scores(sweep, None if stuck[stay.end or -1, stay.slot] else plain))
    return lines


def _scores(sweep: SweepConfig, table: Any) -> Row:
    """Of one trial, whose metric over the run is [evaluations][S], or None where an agent could not go on."""
    if table is None:
        return {"status": "failed", "error": "an agent diverged", "score": None}
    if any(value is None for value in table[-1]):
        return {"status": "failed", "error": f"no {sweep.metric} in the last evaluation", "score": None}
    values = np.asarray(table, np.float64)  # [evaluations, S]; not finite where null
    means = values.mean(axis=1)
    best = np.nanmax(means) if sweep.direction == "maximize" else np.nanmin(means)
    low, high = interquartile.interquartile_interval(values[-1])
    return {
        "score": plain_number(float(means[-1] if sweep.score == "final" else best)),
        "final": plain_number(float(means[-1])),
        "best": plain_number(float(best)),
        "by_seed": values[-1].tolist(),
        "iqm": float(interquartile.interquartile_mean(values[-1])),
        "iqm_low": low,
        "iqm_high": high,
    }
