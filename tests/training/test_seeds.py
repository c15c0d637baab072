"""Several seeds in one run: what is logged, what is kept of each, and how one of them is chosen again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from resumable import arrays
from shared_programs import run_sharing
from tiny_config import make_tiny

import sacbrax
from sacbrax import evaluate
from sacbrax.config import Config
from sacbrax.core import interquartile
from sacbrax.policy_file.numpy_policy import PolicyFileError
from sacbrax.run.loop import Result

Tiny = Callable[..., Config]
THREE = (
    "env.name=probes:Bandit",
    "algorithm.n_step=1",
    "train.num_seeds=3",
    "train.seed=5",
    "checkpoint.snapshots=true",
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Three bandits; their returns differ from the start."""
    directory = tmp_path_factory.mktemp("runs") / "three"
    return run_sharing(make_tiny(*THREE, f"run.dir={directory}"))


def test_metrics_of_each_seed_and_of_all(result: Result) -> None:
    for row in result.metrics:
        own = np.asarray([row[f"seed_{i}/eval/return_mean"] for i in range(3)])
        assert len(set(own)) == 3
        assert row["eval/return_mean"] == pytest.approx(own.mean(), rel=1e-5)
        assert row["eval/return_seed_std"] == pytest.approx(own.std(ddof=1), rel=1e-5)
        assert row["eval/return_iqm"] == pytest.approx(interquartile.interquartile_mean(own), rel=1e-5)
        assert row["eval/return_iqm_low"] <= row["eval/return_iqm"] <= row["eval/return_iqm_high"]
        assert row["seed_2/eval/length_mean"] == 1
    last = result.metrics[-1]
    assert last["train/critic_loss"] == pytest.approx(np.mean([last[f"seed_{i}/train/critic_loss"] for i in range(3)]))


def test_each_seed_keeps_its_own_best_policy(result: Result) -> None:
    bests = []
    for i in range(3):
        header = sacbrax.load_policy(result.run_dir, i).header
        bests.append(max(row[f"seed_{i}/eval/return_mean"] for row in result.metrics))
        assert header["seed"] == 5 + i
        assert header["eval/return_mean"] == pytest.approx(bests[-1])
    best = sacbrax.load_policy(result.run_dir)
    assert best.header["seed"] == 5 + int(np.argmax(bests))
    assert best.header["eval/return_mean"] == max(bests) == result.summary["best_return"]
    for name, array in sacbrax.load_policy(result.run_dir, int(np.argmax(bests))).arrays.items():
        np.testing.assert_array_equal(array, best.arrays[name])


def test_the_file_of_a_seed_holds_its_own_networks_and_normalizer(result: Result) -> None:
    """The last snapshots beside the last checkpoint, which was written at the same evaluation."""
    state = arrays(result.run_dir)
    for i in range(3):
        file = sorted((result.run_dir / "checkpoints" / f"seed_{i}").glob("snapshot_*"))[-1]
        kept = sacbrax.load_policy(file).arrays
        normalizer = {
            name: state[f"state/normalizer/{name}"][i] for name in ("mean", "variance", "reward_mean", "steps")
        }
        np.testing.assert_array_equal(kept["observation_mean"], normalizer["mean"])
        np.testing.assert_allclose(kept["observation_scale"], (normalizer["variance"] + 1e-6) ** -0.5, rtol=1e-5)
        np.testing.assert_array_equal(kept["reward_mean"], normalizer["reward_mean"])
        np.testing.assert_array_equal(kept["normalizer_steps"], normalizer["steps"])
        np.testing.assert_array_equal(kept["kernel_0"], state["state/agent/params/actor/params/Dense_0/kernel"][i])
    assert len({float(state["state/normalizer/mean"][i, 0]) for i in range(3)}) == 3


def test_snapshots_of_each_seed(result: Result) -> None:
    folder = result.run_dir / "checkpoints"
    names = sorted(path.name for path in folder.glob("snapshot_*"))
    assert len(names) == len(result.metrics)
    for i in range(3):
        assert sorted(path.name for path in (folder / f"seed_{i}").glob("snapshot_*")) == names


def test_evaluate_takes_one_seed(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for choice in (["--seed-index", "0"], ["--seed-index", "1"], []):
        arguments = [str(result.run_dir), "--episodes", "4", "--import", "--json", *choice]
        assert evaluate.main(arguments) == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert [report["seed_index"] for report in reports] == [0, 1, None]
    assert reports[0]["return_mean"] != reports[1]["return_mean"]
    assert evaluate.main([str(result.run_dir), "--seed-index", "3"]) == 2
    error = capsys.readouterr().err
    assert "no seed index 3; choose from 0 to 2" in error
    assert error.count("\n") == 1


def test_a_seed_index_where_there_are_no_seeds(result: Result, tmp_path: Path) -> None:
    single = run_sharing(make_tiny(f"run.dir={tmp_path / 'one'}"))
    assert not list(single.run_dir.glob("checkpoints/seed_*"))
    assert not any(key.startswith("seed_") or "iqm" in key for key in single.metrics[-1])
    np.testing.assert_array_equal(single.policy(0)(np.ones(2)), single.policy()(np.ones(2)))
    with pytest.raises(PolicyFileError, match="choose from 0 to 0"):
        sacbrax.load_policy(single.run_dir, 1)
    with pytest.raises(PolicyFileError, match="not"):
        sacbrax.load_policy(result.run_dir / "checkpoints" / "best_policy.npz", 0)


def test_a_run_that_goes_on_remembers_the_best_of_each_seed(result: Result, tmp_path: Path) -> None:
    directory = shutil.copytree(result.run_dir, tmp_path / "run")
    kept = [sacbrax.load_policy(directory, i).header["eval/return_mean"] for i in range(3)]
    second = run_sharing(make_tiny(*THREE, f"run.dir={directory}", "train.total_env_steps=136"))
    assert len(second.metrics) == len(result.metrics) + 1
    for i in range(3):
        now = sacbrax.load_policy(directory, i).header["eval/return_mean"]
        assert now == pytest.approx(max(kept[i], second.metrics[-1][f"seed_{i}/eval/return_mean"]))
