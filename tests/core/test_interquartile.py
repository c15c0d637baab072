"""Interquartile mean and stratified bootstrap against SciPy and known answers."""

import numpy as np
import pytest
import scipy.stats

from sacbrax.core.interquartile import interquartile_interval, interquartile_mean, over_seeds


@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (4,), (7,), (8,), (5, 3), (10, 2)])
def test_the_interquartile_mean_is_scipys_trimmed_mean(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    expected = scipy.stats.trim_mean(values, 0.25, axis=None)
    assert interquartile_mean(values) == pytest.approx(expected, rel=1e-12)
    by_row = scipy.stats.trim_mean(values, 0.25, axis=-1)
    np.testing.assert_allclose(interquartile_mean(values, axis=-1), by_row, rtol=1e-12)


def test_outliers_do_not_move_it() -> None:
    assert interquartile_mean([1, 2, 3, 4]) == 2.5
    assert interquartile_mean([-1000, 2, 3, 9e9]) == 2.5


def test_the_interval_of_one_task_is_scipys_percentile_bootstrap() -> None:
    """Both are random: with 20,000 repetitions the ends agree to a few hundredths of the interval's width."""
    scores = np.random.default_rng(1).gamma(2.0, size=20)
    low, high = interquartile_interval(scores, repetitions=20_000)
    reference = scipy.stats.bootstrap(
        (scores,),
        interquartile_mean,
        vectorized=False,
        n_resamples=5_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    width = reference.high - reference.low
    assert abs(low - reference.low) < 0.05 * width
    assert abs(high - reference.high) < 0.05 * width
    assert low < interquartile_mean(scores) < high


def test_tasks_are_resampled_by_themselves() -> None:
    """Runs differ between tasks and not within one: only a resampling across the strata could spread."""
    scores = np.tile([[1.0, 5.0, 9.0]], (6, 1))
    low, high = interquartile_interval(scores)
    assert low == high == interquartile_mean(scores)
    mixed = interquartile_interval(scores.reshape(-1))
    assert mixed[0] < mixed[1]


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for i in range(300):
        low, high = interquartile_interval(generator.normal(size=30), repetitions=400, seed=i)
        covered += low <= 0.0 <= high
    assert 0.88 < covered / 300 < 0.99, "bootstrap intervals of 30 values are a little short of 95 %"


def test_equal_scores_have_no_spread_and_bad_ones_no_interval() -> None:
    assert interquartile_interval([3.0, 3.0]) == (3.0, 3.0)
    assert np.isnan(interquartile_interval([3.0, np.nan])).all()
    assert interquartile_interval([1.0, 2.0, 4.0]) == interquartile_interval([1.0, 2.0, 4.0])


def test_keys_of_the_log() -> None:
    keys = over_seeds(np.asarray([1.0, 2.0, 3.0, 10.0]))
    assert keys["eval/return_iqm"] == 2.5
    assert keys["eval/return_seed_std"] == pytest.approx(np.std([1, 2, 3, 10], ddof=1))
    assert keys["eval/return_iqm_low"] <= 2.5 <= keys["eval/return_iqm_high"]


def test_a_value_that_is_none_leaves_no_mean() -> None:
    """Sorted, it would stand among the best, and be cut off."""
    assert np.isnan(interquartile_mean([10.0, 20.0, 30.0, np.nan]))
    rows = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, np.nan, 3.0, 4.0]])
    np.testing.assert_array_equal(interquartile_mean(rows, axis=1), [2.5, np.nan])
    assert np.isnan(over_seeds([1.0, 2.0, 3.0, np.nan])["eval/return_iqm"])
