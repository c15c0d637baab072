"""One row of the log: what the numbers of an evaluation are called, and what several seeds have in common.

Knows neither devices nor files.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sacbrax.config import Config
from sacbrax.core import interquartile
from sacbrax.core.numbers import plain_number, sound_episodes
from sacbrax.run.progress import Progress

Row = dict[str, float | None]
EVALUATED = ("return_mean", "return_std", "length_mean", "faults")


def seed_returns(episodes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean return of each seed, [S], of `episodes` as in `row`; NaN where no episode stayed finite."""
    return np.atleast_1d(sound_episodes(episodes)["return_mean"])


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
    by_seed, num_envs = (
        {name: np.atleast_1d(value) for name, value in sound_episodes(episodes).items()},
        config.env.num_envs,
    )
    size = len(by_seed["return_mean"])
    together = sound_episodes({name: np.ravel(value) for name, value in episodes.items()})
    first = progress.evaluated is None  # right after exploration, before any update
    iterations = 0 if progress.evaluated is None else progress.iteration - progress.evaluated
    rate = size * iterations / (progress.epoch_seconds or np.inf)
    values: dict[str, Any] = {
        "env_steps": progress.iteration * num_envs,
        "gradient_steps": config.gradient_steps(progress.iteration - config.exploration_iterations),
        "wall_seconds": progress.wall_seconds,
        **{f"eval/{name}": together[name].item() for name in EVALUATED},
        "time/env_steps_per_second": rate * num_envs,
        "time/gradient_steps_per_second": rate * config.train.updates_per_step / config.train.update_interval,
    }
    values |= {f"train/{name}": None if first else float(np.mean(train[name])) for name in sorted(train)}
    values |= {f"diag/{name}": float(np.mean(value)) for name, value in sorted(diagnostics.items())}
    if size > 1:
        own = {f"eval/{name}": by_seed[name] for name in EVALUATED}
        own |= {f"train/{name}": value for name, value in train.items() if not first}
        values |= interquartile.over_seeds(by_seed["return_mean"])
        values |= {f"seed_{i}/{name}": float(value[i]) for i in range(size) for name, value in own.items()}
    return {key: plain_number(value) for key, value in values.items()}
