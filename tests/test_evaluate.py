"""The evaluation door: what it is asked for must fit the memory here."""

import pytest

from sacbrax import evaluate


@pytest.mark.parametrize("engine", ["gymnasium", "fused"])
def test_more_episodes_than_the_memory_holds(engine: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["swimmer", "--engine", engine, "--episodes", "100000000000"]) == 2
    assert capfd.readouterr().err.startswith("error: --episodes: 100,000,000,000 ")
