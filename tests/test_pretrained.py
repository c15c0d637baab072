"""The policies that come with the package do in Gymnasium's own task what the tables say."""

import pytest

from sacbrax.evaluate import evaluate_gymnasium
from sacbrax.policy_file import load_policy


def test_swimmer_in_gymnasium() -> None:
    returns = evaluate_gymnasium(load_policy("swimmer"), episodes=5, seed=0)["return"]
    assert returns.mean() == pytest.approx(364.5, abs=1.5)  # 100 episodes: 364.5 ± 0.9, docs/benchmarks.md
