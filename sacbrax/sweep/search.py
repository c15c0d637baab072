"""Which trials come next: all of a grid or a random search at once, or what Optuna asks for, batch by batch.

Knows no training: trials are settings, and scores come from the journal.
"""

import warnings
from typing import Any

from sacbrax.config import ConfigError
from sacbrax.sweep.journal import Journal, Row
from sacbrax.sweep.space import Range
from sacbrax.sweep.spec import Sweep


def next_trials(sweep: Sweep, journal: Journal) -> list[Row]:
    """Lines of the journal to run now; none when the sweep is done. What is planned and not finished comes first."""
    if sweep.config.search != "optuna":
        journal.plan(sweep.parameters())
        return journal.planned()
    wanted = min(sweep.config.batch, sweep.config.trials - len(journal.rows))
    if not journal.planned() and wanted > 0:
        journal.plan([row["parameters"] for row in journal.rows] + _ask(sweep, journal, wanted))
    return journal.planned()


def _ask(sweep: Sweep, journal: Journal, count: int) -> list[dict[str, Any]]:
    """Optuna's next trials. It is told all there were each time: a sweep that goes on needs no state of its own."""
    try:
        import optuna
    except ImportError:
        raise ConfigError("search: optuna is not installed; pip install 'sacbrax[optuna]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {}
    for key, values in sweep.space.items():
        if isinstance(values, Range):
            distributions[key] = optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)
        else:  # by place: a choice may be a list
            distributions[key] = optuna.distributions.CategoricalDistribution(tuple(range(len(values))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Trials of a batch are drawn without each other's results: the constant liar keeps them apart.
        sampler = optuna.samplers.TPESampler(seed=(sweep.config.seed + len(journal.rows)) % 2**32, constant_liar=True)
    direction: Any = sweep.config.direction
    study = optuna.create_study(sampler=sampler, direction=direction)
    for row in journal.rows:
        kinds = optuna.trial.TrialState
        state = kinds.FAIL if row.get("score") is None else kinds.COMPLETE
        seen: dict[int, float] = {}
        if row["status"] == "pruned":
            state, seen = kinds.PRUNED, {i: x for i, x in enumerate(row["curve"], start=1) if x is not None}
        params = {
            key: row["parameters"][key] if isinstance(values, Range) else values.index(row["parameters"][key])
            for key, values in sweep.space.items()
        }
        trial = optuna.trial.create_trial(
            state=state,
            value=row.get("score"),
            params=params,
            distributions=distributions,
            intermediate_values=seen,
        )
        study.add_trial(trial)
    asked = [study.ask(distributions).params for _ in range(count)]
    return [
        sweep.whole({key: params[key] if isinstance(v, Range) else v[params[key]] for key, v in sweep.space.items()})
        for params in asked
    ]
