"""The policies that come with the package do in Gymnasium's own task what the tables say."""

from pathlib import Path

import pytest

from sacbrax.policy_file.files import BEST, PRETRAINED, find, load_policy
from sacbrax.policy_file.numpy_policy import NumpyPolicy, PolicyFileError
from sacbrax.view.evaluation import evaluate_gymnasium


def test_swimmer_in_gymnasium() -> None:
    returns = evaluate_gymnasium(load_policy("swimmer"), episodes=5, seed=0)["return"]
    assert returns.mean() == pytest.approx(364.5, abs=1.5)  # 100 episodes: 364.5 ± 0.9, docs/benchmarks.md


def test_an_episodes_length_counts_the_policys_steps() -> None:
    """Also where each is several of Gymnasium's, as on our own engines."""
    found = load_policy("swimmer")
    policy = NumpyPolicy(found.header | {"env": found.header["env"] | {"action_repeat": 3}}, found.arrays)
    length = evaluate_gymnasium(policy, episodes=1, seed=0)["length"]
    assert length == [1000]  # 3,000 of Gymnasium's, whose own limit is 1,000


def test_a_folder_of_its_name_hides_no_policy_and_a_run_of_its_name_is_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "swimmer").mkdir()
    assert find("swimmer") == PRETRAINED / "swimmer.npz"
    (tmp_path / "swimmer" / "checkpoints").mkdir()
    assert find("swimmer") == Path("swimmer") / "checkpoints" / BEST
    with pytest.raises(PolicyFileError, match="no run directory, policy file or pretrained policy"):
        find("../pretrained/swimmer")
