"""Who copies whom and what comes next, against what the words say, and properties that hold for all scores."""

import math
from typing import Any

import numpy as np
import pytest

from sacbrax.sweep import pbt
from sacbrax.sweep.pbt import PbtConfig
from sacbrax.sweep.space import Range, draw

SPACE = {
    "rate": Range(1e-4, 1e-1, log=True),
    "gamma": Range(0.9, 1.0, log=False),
    "scale": (1, 2, 4),
}


def members(count: int, seed: int = 0) -> list[dict[str, Any]]:
    return [draw(SPACE, np.random.default_rng([seed, i])) for i in range(count)]


def inside(settings: Any) -> bool:
    return 1e-4 <= settings["rate"] <= 1e-1 and 0.9 <= settings["gamma"] <= 1.0 and settings["scale"] in (1, 2, 4)


@pytest.mark.parametrize("count", [4, 5, 16])
@pytest.mark.parametrize("quantile", [0.2, 0.25, 0.5])
def test_the_worst_copy_the_best(count: int, quantile: float) -> None:
    """Sorted by hand; scores of many kinds, ties and NaN among them."""
    generator = np.random.default_rng(3)
    replaced = math.floor(quantile * count)
    for trial in range(60):
        scores = generator.normal(size=count).round(trial % 3)
        scores[generator.random(count) < 0.2] = np.nan
        sources = pbt.exploit(scores, quantile, generator)
        worst_first = sorted(range(count), key=lambda i: (not math.isnan(scores[i]), scores[i], i))
        low, high = worst_first[:replaced], worst_first[count - replaced :]
        value = np.where(np.isnan(scores), -np.inf, scores)
        for i, source in enumerate(sources):
            assert source == i or (i in low and source in high and value[source] > value[i])
        for i in low:  # who stays had drawn one no better
            assert sources[i] != i or any(value[j] <= value[i] for j in high)
        assert sources[int(np.argmax(value))] == np.argmax(value), "the best is never overwritten"


def test_all_of_the_best_are_copied_in_time() -> None:
    scores, generator = np.arange(8.0), np.random.default_rng(0)
    drawn = {int(source) for _ in range(100) for source in pbt.exploit(scores, 0.25, generator)[:2]}
    assert drawn == {6, 7}


def test_settings_move_as_told() -> None:
    """Without `resample` each value is one of two; with it alone the values are those of the range."""
    settings, generator = {"rate": 1e-2, "gamma": 0.95, "scale": 2}, np.random.default_rng(1)
    found = [pbt.explore(settings, SPACE, PbtConfig(resample=0.0, perturb=0.2), generator) for _ in range(200)]
    assert {round(each["rate"], 9) for each in found} == {0.008, 0.012}
    assert {round(each["gamma"], 9) for each in found} == {0.93, 0.97}
    assert {each["scale"] for each in found} == {1, 4}
    assert 0.35 < np.mean([each["rate"] > 1e-2 for each in found]) < 0.65
    edge = {"rate": 1e-1, "gamma": 1.0, "scale": 4}
    found = [pbt.explore(edge, SPACE, PbtConfig(resample=0.0), generator) for _ in range(50)]
    assert {round(each["rate"], 9) for each in found} == {0.1, 0.08}
    assert {each["scale"] for each in found} == {4, 2}
    found = [pbt.explore(settings, SPACE, PbtConfig(resample=1.0), generator) for _ in range(300)]
    np.testing.assert_allclose(np.median(np.log10([each["rate"] for each in found])), -2.5, atol=0.35)
    assert {each["scale"] for each in found} == {1, 2, 4}


def test_a_history_is_its_seed_and_scores_alone() -> None:
    """Values stay in their ranges, one more evaluation leaves what was before as it is, and every seed is its own."""
    begin, scores = members(6), np.random.default_rng(5).normal(size=(30, 6))
    config = PbtConfig(every=2, quantile=0.34)
    found = pbt.history(scores, begin, SPACE, config, (0, 0))
    assert [each.evaluation for each in found] == list(range(2, 30, 2)), "none before the first update"
    assert found == pbt.history(scores, begin, SPACE, config, (0, 0))
    assert found[:7] == pbt.history(scores[:16], begin, SPACE, config, (0, 0))
    assert found != pbt.history(scores, begin, SPACE, config, (1, 0))
    assert found != pbt.history(scores, begin, SPACE, config, (0, 6))
    late = pbt.history(scores, begin, SPACE, PbtConfig(every=2, quantile=0.34, first=9), (0, 0))
    assert [each.evaluation for each in late] == list(range(9, 30, 2))
    before: Any = begin
    for each in found:
        assert all(map(inside, each.settings))
        for i, source in enumerate(each.sources):
            assert source != i or each.settings[i] == before[i], "who stays keeps its settings"
        before = each.settings
    assert any(source != i for each in found for i, source in enumerate(each.sources))


def test_a_copy_has_settings_near_its_source() -> None:
    begin = [{"rate": 1e-3}, {"rate": 1e-2}, {"rate": 1e-4}, {"rate": 1e-4}]
    config, space = PbtConfig(resample=0.0, perturb=0.1), {"rate": SPACE["rate"]}
    found = pbt.exchange(1, np.asarray([1.0, 2.0, 0.0, 1.5]), begin, space, config, (0, 0))
    assert found.sources == (0, 1, 1, 3)
    assert round(found.settings[2]["rate"], 9) in (0.009, 0.011)
    assert [found.settings[i] for i in (0, 1, 3)] == [begin[i] for i in (0, 1, 3)]


def test_ancestors_are_found_backwards() -> None:
    exchanges = [pbt.Exchange(1, (0, 0, 2), ()), pbt.Exchange(2, (1, 1, 2), ()), pbt.Exchange(3, (0, 1, 0), ())]
    assert pbt.ancestry(exchanges, 2) == [0, 1, 0, 2]
    assert pbt.ancestry([], 2) == [2]
