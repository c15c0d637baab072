"""One row of the log: what the numbers of an evaluation are called, and what several seeds have in common.

Knows neither devices nor files.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sacbrax.config import Config
from sacbrax.core import interquartile
from sacbrax.core.numbers import plain_number
from sacbrax.run.progress import Progress

Row = dict[str, float | None]


def seed_returns(episodes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean return of each seed, [S], of `episodes` as in `row`; NaN where an episode's is."""
    return np.atleast_2d(episodes["return"]).mean(axis=1)


def row(
    config: Config,
    progress: Progress,
    episodes: Mapping[str, np.ndarray],
    train: Mapping[str, np.ndarray],
    diagnostics: Mapping[str, np.ndarray],
) -> Row:
    """The row of an evaluation of S seeds at `progress`, in its order.

    episodes: `return` and `length`, [S, episodes] or [episodes]. train: averages since the row before, [S] or [].
    A number that is not finite, and what is not known before the first update, is None.
    """
    returns = np.atleast_2d(episodes["return"])  # [S, episodes]
    by_seed, size, num_envs = seed_returns(episodes), len(returns), config.env.num_envs
    first = progress.evaluated is None  # right after exploration, before any update
    iterations = 0 if progress.evaluated is None else progress.iteration - progress.evaluated
    rate = size * iterations / (progress.epoch_seconds or np.inf)
    values: dict[str, Any] = {
        "env_steps": progress.iteration * num_envs,
        "gradient_steps": config.gradient_steps(progress.iteration - config.exploration_iterations),
        "wall_seconds": progress.wall_seconds,
        "eval/return_mean": float(returns.mean()),
        "eval/return_std": float(returns.std()),
        "eval/length_mean": float(np.mean(episodes["length"])),
        "time/env_steps_per_second": rate * num_envs,
        "time/gradient_steps_per_second": rate * config.train.updates_per_step / config.train.update_interval,
    }
    values |= {f"train/{name}": None if first else float(np.mean(train[name])) for name in sorted(train)}
    values |= {f"diag/{name}": float(np.mean(value)) for name, value in sorted(diagnostics.items())}
    if size > 1:
        own = {"eval/return_mean": by_seed, "eval/return_std": returns.std(axis=1)}
        own["eval/length_mean"] = np.mean(episodes["length"], axis=1)
        own |= {f"train/{name}": value for name, value in train.items() if not first}
        values |= interquartile.over_seeds(by_seed)
        values |= {f"seed_{i}/{name}": float(value[i]) for i in range(size) for name, value in own.items()}
    return {key: plain_number(value) for key, value in values.items()}
