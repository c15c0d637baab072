"""What several runs say together: the interquartile mean and its stratified bootstrap interval.

The method of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021): scores of R
runs on T tasks, the middle half of all of them averaged, and an interval from resampling the runs of every task (a
stratum) by itself. One task is T = 1. Knows NumPy alone.
"""

from typing import Any

import numpy as np

REPETITIONS = 2000
CONFIDENCE = 0.95


def interquartile_mean(values: Any, axis: int | None = None) -> Any:
    """Mean of what is left when a quarter of the values, rounded down, is cut off at either end. NaN if a value is."""
    values = np.sort(np.asarray(values, np.float64), axis=axis)
    count = values.shape[-1 if axis is None else axis]
    cut = count // 4
    kept = np.take(values, np.arange(cut, count - cut), axis=-1 if axis is None else axis)
    missing = np.isnan(values).any(axis=axis)  # NaN stands last, and may be cut off
    return np.where(missing, np.nan, kept.mean(axis=axis))


def interquartile_interval(
    scores: Any, confidence: float = CONFIDENCE, repetitions: int = REPETITIONS, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the interquartile mean of scores [R] or [R, T], by stratified bootstrap.

    Its random numbers are its own: the same scores give the same interval. NaN for both ends if a score is.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim == 1:
        scores = scores[:, None]
    if not np.isfinite(scores).all():
        return np.nan, np.nan
    runs = np.random.default_rng(seed).integers(len(scores), size=(repetitions, *scores.shape))
    resampled = np.take_along_axis(scores[None], runs, axis=1).reshape(repetitions, -1)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(interquartile_mean(resampled, axis=1), [tail, 100 - tail])
    return float(low), float(high)


def over_seeds(returns: Any) -> dict[str, float]:
    """Keys of the log for the returns of S > 1 seeds, [S]: spread over the seeds and interquartile mean.

    `return_seed_std` is the sample standard deviation (S - 1 in the denominator).
    """
    low, high = interquartile_interval(returns)
    return {
        "eval/return_seed_std": float(np.std(returns, ddof=1)),
        "eval/return_iqm": float(interquartile_mean(returns)),
        "eval/return_iqm_low": low,
        "eval/return_iqm_high": high,
    }
