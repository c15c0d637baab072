"""Population-based training (PBT, arXiv:1711.09846): after an evaluation the worst agents go on as copies of the best,
with other settings.

Who copies whom and which settings come next are functions of the seed and of the evaluations so far alone, so that a
population that goes on from a checkpoint needs nothing but its log. Knows no JAX: `population` moves the arrays.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sacbrax.config.option import option
from sacbrax.sweep.space import Range, Space, Values

Settings = Mapping[str, Any]  # of one member, by configuration key


@dataclasses.dataclass(frozen=True)
class PbtConfig:
    """How a population exchanges."""

    every: int = option(1, "evaluations between two exchanges", low=1)
    first: int | None = option(
        None,
        "evaluation after which the first exchange is, the one before the first update not counted; every's value when "
        "null. Before returns rise the best are not those that learn",
        low=1,
    )
    quantile: float = option(
        0.25,
        "share of the population, rounded down, that is replaced by copies of as many best ones",
        above=0.0,
        high=0.5,
    )
    resample: float = option(0.25, "probability that a copy draws a value anew instead of moving it", low=0.0, high=1.0)
    perturb: float = option(
        0.2,
        "how far a copy moves a value, up or down: of a log_uniform range so much of the value, of a uniform one so "
        "much of its width, in a list to the neighbour",
        above=0.0,
        high=0.9,
    )
    copy: tuple[str, ...] = option(
        ("optimizer",),
        "what a copy takes over beside networks, targets and running statistics; replay: the environments too",
        choices=("optimizer", "replay"),
    )


@dataclasses.dataclass(frozen=True)
class Exchange:
    """What one evaluation led to, for P members."""

    evaluation: int  # place among the rows of the log
    sources: tuple[int, ...]  # [P] whose copy each member is from now on; itself where it stays
    settings: tuple[Settings, ...]  # [P] from now on


def exploit(scores: np.ndarray, quantile: float, generator: np.random.Generator) -> np.ndarray:
    """Truncation selection: the sources [P] of scores [P], more being better and NaN the worst.

    Each of the worst copies one of the best, drawn evenly, unless that one is no better.
    """
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    order, count = np.argsort(ranked, kind="stable"), int(quantile * len(scores))
    worst, best = order[:count], order[len(scores) - count :]
    drawn = best[generator.integers(count, size=count)] if count else best
    sources = np.arange(len(scores))
    sources[worst] = np.where(ranked[drawn] > ranked[worst], drawn, worst)
    return sources


def explore(settings: Settings, space: Space, config: PbtConfig, generator: np.random.Generator) -> dict[str, Any]:
    """The settings of a copy: each value moved, or with probability `resample` drawn anew, within its range."""
    return {key: _explored(settings[key], values, config, generator) for key, values in space.items()}


def _explored(value: Any, values: Values, config: PbtConfig, generator: np.random.Generator) -> Any:
    anew, up = generator.random() < config.resample, generator.random() < 0.5
    if isinstance(values, Range):
        return values.draw(generator) if anew else values.moved(value, config.perturb if up else -config.perturb)
    if anew:
        return values[int(generator.integers(len(values)))]
    place = values.index(value) + (1 if up else -1)
    return values[min(max(place, 0), len(values) - 1)]


def exchange(
    evaluation: int,
    scores: np.ndarray,
    settings: Sequence[Settings],
    space: Space,
    config: PbtConfig,
    seed: Sequence[int],
) -> Exchange:
    """The exchange after `evaluation` with scores [P], more being better; random by (seed, evaluation) alone."""
    generator = np.random.default_rng([*seed, evaluation])
    sources = exploit(scores, config.quantile, generator)
    after = [
        dict(settings[i]) if source == i else explore(settings[source], space, config, generator)
        for i, source in enumerate(sources)
    ]
    return Exchange(evaluation, tuple(sources.tolist()), tuple(after))


def history(
    scores: np.ndarray, settings: Sequence[Settings], space: Space, config: PbtConfig, seed: Sequence[int]
) -> list[Exchange]:
    """All exchanges of members that began with `settings`, after evaluations with scores [E, P]; row 0, before the
    first update, leads to none."""
    found: list[Exchange] = []
    for evaluation in range(config.first or config.every, len(scores), config.every):
        found.append(exchange(evaluation, scores[evaluation], settings, space, config, seed))
        settings = found[-1].settings
    return found


def ancestry(exchanges: Sequence[Exchange], member: int) -> list[int]:
    """The place of a member's ancestor before each exchange, and last its own."""
    places = [member]
    for each in reversed(exchanges):
        places.append(each.sources[places[-1]])
    return places[::-1]
