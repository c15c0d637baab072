"""The policies that come with the package do in Gymnasium's own task what the tables say."""

import pytest

from sacbrax.evaluate import evaluate_gymnasium
from sacbrax.policy_file import load_policy


def test_swimmer_in_gymnasium() -> None:
    returns = evaluate_gymnasium(load_policy("swimmer"), episodes=5, seed=0)["return"]
    assert returns.mean() == pytest.approx(362.6, abs=2.0)  # 100 episodes: 362.6 ± 1.4, docs/benchmarks.md
