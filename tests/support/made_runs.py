"""Run directories written by hand, for what only reads them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacbrax import config as config_lib


def make_run(
    directory: Path,
    *overrides: str,
    rows: int = 5,
    returns: Callable[[int], float] = lambda t: 10.0 * t,
    more: Callable[[int], dict[str, Any]] = lambda t: {},
    finished: bool = True,
) -> Path:
    """A run of `rows` evaluations, one each 100 env steps and 2 s, with `returns` and `more` by evaluation."""
    directory.mkdir(parents=True)
    total = 100 * (rows - 1) if finished else 10**9
    config = config_lib.load("swimmer", [f"train.total_env_steps={max(total, 26_000)}", *overrides])
    (directory / "config.yaml").write_text(config.to_yaml())
    lines, best = [], -math.inf
    for t in range(rows):
        row = {
            "env_steps": 100 * t,
            "gradient_steps": 10 * t,
            "wall_seconds": 2.0 * t,
            "eval/return_mean": returns(t),
            "eval/return_std": 1.5,
            "train/critic_loss": None if t == 0 else 1.0 / t,
            "train/temperature": 0.1,
            "train/faults": 0.0,
            "time/env_steps_per_second": 1e5,
        }
        best = max(best, returns(t))
        lines.append(json.dumps(row | more(t)) + "\n")
    (directory / "metrics.jsonl").write_text("".join(lines))
    (directory / "summary.json").write_text(json.dumps({"best_return": best, "interrupted": False}))
    return directory
