"""The numbers of one row of the log, by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from sacbrax.config import Config
from sacbrax.run import metrics_row
from sacbrax.run.progress import Progress

Tiny = Callable[..., Config]
EPISODES = {"return": np.array([[1.0, 3.0], [5.0, 9.0]]), "length": np.array([[5, 5], [4, 2]])}
TRAIN = {"critic_loss": np.array([1.0, 4.0])}
DIAGNOSTICS = {"qf1_mean": np.array([2.0, 6.0])}


def test_a_row_of_two_seeds(tiny: Tiny) -> None:
    config = tiny("train.num_seeds=2")  # 4 environments, 4 vector steps of exploration, 2 updates per step
    progress = Progress(iteration=24, evaluated=14, epoch_seconds=2.0, wall_seconds=7.0)
    row = metrics_row.row(config, progress, EPISODES, TRAIN, DIAGNOSTICS)
    wanted = {
        "env_steps": 96,
        "gradient_steps": 40,
        "wall_seconds": 7.0,
        "eval/return_mean": 4.5,
        "eval/return_std": np.sqrt((3.5**2 + 1.5**2 + 0.5**2 + 4.5**2) / 4),
        "eval/length_mean": 4.0,
        "time/env_steps_per_second": 2 * 10 * 4 / 2.0,
        "time/gradient_steps_per_second": 2 * 10 * 2 / 2.0,
        "train/critic_loss": 2.5,
        "diag/qf1_mean": 4.0,
        "seed_0/eval/return_mean": 2.0,
        "seed_1/eval/return_mean": 7.0,
        "seed_0/eval/return_std": 1.0,
        "seed_1/eval/return_std": 2.0,
        "seed_1/eval/length_mean": 3.0,
        "seed_0/train/critic_loss": 1.0,
        "seed_1/train/critic_loss": 4.0,
        "eval/return_seed_std": np.sqrt(2 * 2.5**2),
    }
    for key, value in wanted.items():
        assert row[key] == pytest.approx(value), key


def test_the_first_row_knows_no_training(tiny: Tiny) -> None:
    one = {name: values[0] for name, values in EPISODES.items()}
    row = metrics_row.row(tiny(), Progress(iteration=4), one, {"critic_loss": np.array(1.0)}, {})
    assert (row["env_steps"], row["gradient_steps"], row["train/critic_loss"]) == (16, 0, None)
    assert row["time/env_steps_per_second"] == 0
    assert not any(key.startswith("seed_") for key in row)


def test_updates_in_every_third_vector_step_alone(tiny: Tiny) -> None:
    config = tiny("train.update_interval=3", "eval.every_env_steps=36", "train.total_env_steps=124")
    episodes = {name: values[0] for name, values in EPISODES.items()}
    row = metrics_row.row(config, Progress(iteration=13, evaluated=4, epoch_seconds=1.0), episodes, {}, {})
    assert (row["env_steps"], row["gradient_steps"]) == (52, 6)
    assert row["time/gradient_steps_per_second"] == 9 / 3 * 2
