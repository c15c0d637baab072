"""What a finished program says of its trials, by hand."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sacbrax.config import Config
from sacbrax.sweep import lines
from sacbrax.sweep.program import Program
from sacbrax.sweep.spec import SweepConfig

Tiny = Callable[..., Config]
# Of two trials with two seeds each the returns in three evaluations; agent 2 t + s is seed s of trial t.
RETURNS = [[1.0, 3.0, 10.0, 20.0], [6.0, 8.0, 0.0, 2.0], [4.0, 6.0, 5.0, 5.0]]


def finished(tiny: Tiny, stuck: list[int], **sweep: Any) -> list[dict[str, Any]]:
    config = tiny("train.num_seeds=2")
    rows = [{"trial": trial, "status": "planned", "parameters": {}} for trial in (0, 1)]
    program = Program(rows, [config, config], Path("somewhere"))
    metrics = [
        {"env_steps": 16 * (i + 1), "gradient_steps": 8 * i}
        | {f"seed_{k}/eval/return_mean": x for k, x in enumerate(row)}
        for i, row in enumerate(RETURNS)
    ]
    result = SimpleNamespace(metrics=metrics, summary={"stuck_seeds": stuck})
    return lines.finished(SweepConfig(**sweep), program, result, 12.5)


@pytest.mark.parametrize(
    ("score", "direction", "scores", "bests"),
    [
        ("final", "maximize", [5.0, 5.0], [7.0, 15.0]),
        ("best", "maximize", [7.0, 15.0], [7.0, 15.0]),
        ("best", "minimize", [2.0, 1.0], [2.0, 1.0]),
    ],
)
def test_scores_of_trials(tiny: Tiny, score: str, direction: str, scores: list[float], bests: list[float]) -> None:
    found = finished(tiny, [], score=score, direction=direction)
    assert [line["score"] for line in found] == scores
    assert [line["best"] for line in found] == bests
    assert [line["final"] for line in found] == [5.0, 5.0]
    assert [line["by_seed"] for line in found] == [[4.0, 6.0], [5.0, 5.0]]
    assert [line["seed_index"] for line in found] == [0, 2]
    assert [line["iqm"] for line in found] == [5.0, 5.0]
    assert found[0]["iqm_low"] < 5 < found[0]["iqm_high"]
    assert all(line["env_steps"] == 48 and line["gradient_steps"] == 16 and line["seconds"] == 12.5 for line in found)


def test_a_trial_with_an_agent_that_diverged_has_no_score(tiny: Tiny) -> None:
    one, other = finished(tiny, [3])
    assert (one["status"], one["score"]) == ("done", 5.0)
    assert (other["status"], other["score"], other["error"]) == ("failed", None, "an agent diverged")
