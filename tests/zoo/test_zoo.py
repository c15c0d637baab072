"""The zoo: how a policy is made and its record kept, the table and the page, and what the shipped policies reach."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacbrax import config as config_lib
from sacbrax.config import ConfigError
from sacbrax.policy_file.files import BEST, PRETRAINED, load_policy
from sacbrax.view.evaluation import evaluate_gymnasium
from sacbrax.zoo import page, records, training
from sacbrax.zoo.__main__ import main
from sacbrax.zoo.marks import MARKS

SHIPPED = [name for name in records.names() if records.read(name) is not None]
RETURNS = {0: [10.0, 90.0], 1: [400.0, 300.0], 2: [50.0, 350.0]}  # by seed, of two evaluations


class Commands:
    """Instead of `train` and `evaluate`: writes what they would."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, name: str, *arguments: str) -> str:
        self.calls.append(name)
        if name == "evaluate":
            seed = int(arguments[0][-1])
            return json.dumps({"return_mean": 340.0 + seed, "return_std": 2.0, "return_min": 330.0})
        options = dict(argument.split("=") for argument in arguments if "=" in argument)
        run, seed = Path(options["run.dir"]), int(options["train.seed"])
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        (run / "checkpoints" / BEST).write_bytes((PRETRAINED / "swimmer.npz").read_bytes() + bytes([seed]))
        rows = [
            {"env_steps": 100 * i, "gradient_steps": 10 * i, "wall_seconds": 5.0 * i, "eval/return_mean": value}
            for i, value in enumerate(RETURNS[seed], 1)
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (run / "config.yaml").write_text(config_lib.load(arguments[0], arguments[1:]).to_yaml())
        about = {"git_revision": f"commit {seed}"}
        about |= {"hardware": {"processor": "a", "cores": 2}, "versions": {"jax": "1", "mujoco": "2", "python": "3"}}
        (run / "summary.json").write_text(json.dumps({"metrics": rows[-1], "interrupted": False, **about}))
        return ""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[records.Record, Commands]:
    commands = Commands()
    monkeypatch.setattr(training, "_command", commands)
    return training.make("swimmer", "swimmer", [], range(3), tmp_path / "runs", tmp_path / "zoo"), commands


def test_the_best_seed_by_training_is_kept_with_its_record(
    made: tuple[records.Record, Commands], tmp_path: Path
) -> None:
    record, _ = made
    assert records.read("swimmer", tmp_path / "zoo") == record
    assert (record.shipped, record.own.return_mean, record.own.seconds) == (1, 341.0, 10.0)
    assert record.commit == "commit 1", "of its training, whatever the tree is by now"
    assert (tmp_path / "zoo" / "swimmer.npz").read_bytes()[-1] == 1
    assert record.all_seconds_to(345.6) == [5.0, 10.0], "the seeds that were there, each at its first such evaluation"
    assert record.command == "python -m sacbrax.train swimmer train.seed=1"


def test_what_is_there_is_not_made_again(made: tuple[records.Record, Commands], tmp_path: Path) -> None:
    record, commands = made
    assert commands.calls == ["train", "evaluate"] * 3
    run = tmp_path / "runs" / "swimmer" / "seed_2"
    (run / training.JUDGED).unlink()
    summary = json.loads((run.parent / "seed_0" / "summary.json").read_text())
    (run.parent / "seed_0" / "summary.json").write_text(json.dumps(summary | {"interrupted": True}))
    again = training.make("swimmer", "swimmer", [], range(3), tmp_path / "runs", tmp_path / "zoo")
    assert commands.calls[6:] == ["train", "evaluate"]  # an interrupted run goes on, a missing judgement is made
    assert again.seeds == record.seeds


def test_runs_of_another_configuration_are_refused(made: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^algorithm\.gamma: 0\.5, but the run in .*seed_0 has .*; choose other --runs"
    ):
        training.make("swimmer", "swimmer", ["algorithm.gamma=0.5"], range(3), tmp_path / "runs", tmp_path / "zoo")


def test_the_table_fits_80_columns(
    made: tuple[records.Record, Commands], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    long = dataclasses.replace(made[0], name="inverted_double_pendulum_v5")
    records.write(long, tmp_path / "zoo")
    (tmp_path / "zoo" / "inverted_double_pendulum_v5.npz").write_bytes(b"")
    (tmp_path / "zoo" / "unknown.npz").write_bytes(b"")
    monkeypatch.setattr(records, "names", lambda: sorted(f.stem for f in (tmp_path / "zoo").glob("*.npz")))
    read = records.read
    monkeypatch.setattr(records, "read", lambda name: read(name, tmp_path / "zoo"))
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert re.search(r"swimmer +341\.0 +3 +341\.0 +340\.0 +10", "\n".join(lines))
    assert "345.6 (best public SAC, v5): 8 s, 2 of 3 seeds" in "\n".join(lines)
    assert "unknown                      no record of its training" in lines


def test_the_page_has_every_policy(
    made: tuple[records.Record, Commands], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "names", lambda: ["swimmer"])
    monkeypatch.setattr(records, "read", lambda name: made[0])
    monkeypatch.setattr(page, "_episode", lambda record, folder: None)  # the tests of videos draw
    page.write(tmp_path / "docs" / "zoo.md")
    text = (tmp_path / "docs" / "zoo.md").read_text()
    assert "| return | 341.0 ± 2.0 (lowest 330.0) |" in text
    assert "| 345.6 (best public SAC, v5) | 8 | 2 of 3 |" in text
    assert (tmp_path / "docs" / "zoo" / "swimmer_curve.png").stat().st_size > 5_000


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nothing", "--runs", str(tmp_path)]) == 2
    assert "nothing: no configuration of that name; choose from ant, " in capsys.readouterr().err
    assert main(["train", "swimmer", "train.speed=1", "--runs", str(tmp_path)]) == 2
    assert "train.speed" in capsys.readouterr().err
    assert main(["train", "swimmer", "--config", "swimmer_best", "--runs", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: train.num_seeds: a run of the zoo has one seed, got 5; say 1\n"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_reaches_its_number(name: str) -> None:
    """In ten of the episodes that its record is of."""
    record = records.read(name)
    assert record is not None
    assert (PRETRAINED / f"{name}.npz").stat().st_size < 2**20
    found = evaluate_gymnasium(load_policy(name), 10, 0)["return"]
    error = max(record.own.return_std, 1e-3 * abs(record.own.return_mean)) / np.sqrt(10)
    assert abs(found.mean() - record.own.return_mean) < 4 * error


def test_marks_are_of_known_tasks() -> None:
    from sacbrax.envs import ENVS

    assert set(MARKS) <= set(ENVS)
    assert set(SHIPPED) <= set(MARKS)
