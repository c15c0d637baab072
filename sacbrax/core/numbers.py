"""Numbers for files that people and other programs read."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain_number(value: Any) -> Any:
    """A JSON-ready number; None for NaN and infinity, which JSON does not have."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sound_episodes(episodes: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics over the last axis of `return` and `length`, [..., episodes], of the episodes whose return is finite:
    `return_mean`, `return_std`, `return_min` and `length_mean`, NaN where there are none, and `faults`, the others."""
    returns, lengths = (np.asarray(episodes[name], np.float64) for name in ("return", "length"))
    sound = np.isfinite(returns)
    returns, count = np.where(sound, returns, 0.0), sound.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        mean = returns.sum(axis=-1) / count
        deviation = np.where(sound, returns - mean[..., None], 0.0)
        return {
            "return_mean": mean,
            "return_std": np.sqrt(np.square(deviation).sum(axis=-1) / count),
            "return_min": np.where(count, np.where(sound, returns, np.inf).min(axis=-1), np.nan),
            "length_mean": np.where(sound, lengths, 0.0).sum(axis=-1) / count,
            "faults": returns.shape[-1] - count,
        }
