"""Evaluation episodes among which some left the finite numbers."""

import numpy as np
import pytest

from sacbrax.core.numbers import sound_episodes


def test_statistics_are_of_the_sound_episodes() -> None:
    returns = np.array([[1.0, np.nan, 3.0, np.inf], [2.0, 4.0, 6.0, 8.0], [np.nan] * 4], np.float32)
    found = sound_episodes({"return": returns, "length": np.array([[2, 9, 4, 9], [1, 1, 1, 1], [5, 5, 5, 5]])})
    assert found["faults"].tolist() == [2, 0, 4]
    np.testing.assert_array_equal(found["return_mean"], [2, 5, np.nan])
    np.testing.assert_array_equal(found["return_std"], [1, np.std([2, 4, 6, 8]), np.nan])
    np.testing.assert_array_equal(found["return_min"], [1, 2, np.nan])
    np.testing.assert_array_equal(found["length_mean"], [3, 1, np.nan])


def test_one_seed_gives_numbers() -> None:
    found = sound_episodes({"return": np.array([1.0, 2.0]), "length": np.array([3, 5])})
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {"return_mean": 1.5, "return_std": 0.5, "return_min": 1.0, "length_mean": 4.0, "faults": 0}
    )
