"""A run from outside: its directory, its files, determinism, exit statuses, and one line for every mistake."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml
from logs import learning, rows
from shared_programs import run_sharing
from tiny_config import TINY, make_tiny

import sacbrax
from sacbrax import config as config_lib
from sacbrax import train as train_door
from sacbrax.config import Config, ConfigError
from sacbrax.run.loop import Result, run
from sacbrax.sinks.console import Reporter
from sacbrax.sweep import __main__ as sweep_door

Tiny = Callable[..., Config]
FIXED_KEYS = {
    "env_steps",
    "gradient_steps",
    "wall_seconds",
    "eval/return_mean",
    "eval/return_std",
    "eval/length_mean",
    "time/env_steps_per_second",
    "time/gradient_steps_per_second",
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run_sharing(make_tiny(f"run.dir={tmp_path_factory.mktemp('runs') / 'one'}"))


def test_the_directory_holds_what_was_promised(result: Result) -> None:
    for name in ("config.yaml", "metrics.jsonl", "progress.csv", "summary.json", "checkpoints"):
        assert (result.run_dir / name).exists(), name
    assert not list(result.run_dir.rglob("*.tmp"))
    assert config_lib.load(result.run_dir / "config.yaml") == make_tiny(f"run.dir={result.run_dir}")


def test_metrics_have_the_fixed_keys_and_counts(result: Result) -> None:
    lines = rows(result.run_dir)
    for row in lines:
        assert set(row) >= FIXED_KEYS
        assert any(key.startswith("train/") for key in row)
        assert set(row) == set(lines[0])
    assert [row["env_steps"] for row in lines] == [16, 56, 96]
    assert [row["gradient_steps"] for row in lines] == [0, 20, 40]
    # The probe pays 0 + 1 + 2 + 3 + 4 in its 5 steps.
    assert [row["eval/return_mean"] for row in lines] == [10, 10, 10]
    assert lines[-1]["eval/return_std"] == 0
    assert lines[-1]["eval/length_mean"] == 5
    assert lines[-1]["train/episode_return"] == 10
    assert lines[1]["time/env_steps_per_second"] == pytest.approx(lines[1]["time/gradient_steps_per_second"] * 2)
    assert lines[0]["wall_seconds"] <= lines[1]["wall_seconds"]
    assert result.metrics == lines


def test_the_table_equals_the_stream(result: Result) -> None:
    with (result.run_dir / "progress.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for line, row in zip(rows(result.run_dir), table, strict=True):
        assert list(line) == list(row)
        for key, value in line.items():
            assert row[key] == ("" if value is None else str(value)), key


def test_the_summary(result: Result) -> None:
    summary = json.loads((result.run_dir / "summary.json").read_text())
    assert summary["metrics"] == rows(result.run_dir)[-1]
    assert summary["best_return"] == 10
    assert summary["interrupted"] is False
    assert summary["versions"].keys() >= {"sacbrax", "python", "jax", "mujoco"}
    assert summary["versions"]["sacbrax"] == sacbrax.__version__
    assert 0 < summary["compile_seconds"] < summary["wall_seconds"]
    assert {"device", "git_revision"} <= summary.keys()


def test_the_best_policy_can_be_loaded(result: Result) -> None:
    policy = sacbrax.load_policy(result.run_dir)
    assert policy(np.zeros((3, 2))).shape == (3, 2)
    np.testing.assert_array_equal(result.policy()(np.ones(2)), policy(np.ones(2)))


def test_equal_seeds_give_equal_learning(result: Result, tmp_path: Path) -> None:
    run_sharing(make_tiny(f"run.dir={tmp_path / 'again'}"))
    run_sharing(make_tiny(f"run.dir={tmp_path / 'other'}", "train.seed=1"))
    assert learning(tmp_path / "again") == learning(result.run_dir)
    assert learning(tmp_path / "other") != learning(result.run_dir)


def test_training_is_in_float32_whatever_the_process_computes_in(result: Result, tmp_path: Path) -> None:
    with jax.enable_x64(True):
        run(make_tiny(f"run.dir={tmp_path / 'run'}"), quiet=True)
    assert learning(tmp_path / "run") == learning(result.run_dir)


def test_seeds_side_by_side_are_logged_apart(tmp_path: Path) -> None:
    run(make_tiny(f"run.dir={tmp_path / 'two'}", "train.num_seeds=2"), quiet=True)
    line = rows(tmp_path / "two")[-1]
    assert line["seed_0/eval/return_mean"] == line["seed_1/eval/return_mean"] == 10
    assert sacbrax.load_policy(tmp_path / "two")(np.zeros(2)).shape == (2,)


def test_quantities_that_do_not_exist_are_null(tmp_path: Path) -> None:
    run(make_tiny(f"run.dir={tmp_path / 'run'}", "env.episode_length=1000"), quiet=True)
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert rows(tmp_path / "run")[-1]["train/episode_return"] is None  # no episode ended


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_the_default_directory_is_named_after_the_file(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(config_file.parent)
    assert train_door.main([str(config_file), "train.total_env_steps=20"]) == 0
    (directory,) = (config_file.parent / "runs" / "tiny").iterdir()
    assert (directory / "summary.json").exists()
    captured = capsys.readouterr()
    assert captured.out == "", "standard output stays free for results"
    assert str(directory.relative_to(config_file.parent)) in captured.err
    assert "memory on the device" in captured.err


def test_overrides_may_come_before_the_file(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config_file.parent)
    args = train_door.parse(["train.seed=3", "tiny.yaml", "train.num_seeds=2", "--quiet"])
    assert train_door.configure(args) == config_lib.load("tiny.yaml", ["train.seed=3", "train.num_seeds=2"])
    assert sweep_door.parse(["trials=3", "sweep.yaml"]).sweep == "sweep.yaml"


def test_resume_goes_on_in_its_own_directory(result: Result, tmp_path: Path, config_file: Path) -> None:
    run_dir = result.run_dir
    for first in ([], [str(config_file)]):
        args = train_door.parse(
            [*first, "--resume", str(run_dir), "env.name=probes:Cue", f"run.dir={tmp_path / 'other'}"]
        )
        with pytest.raises(ConfigError, match=r"^run\.dir: .*other, but --resume goes on in "):
            train_door.configure(args)
        args = train_door.parse([*first, "--resume", str(run_dir), "env.name=probes:Cue", f"run.dir={run_dir}"])
        assert train_door.configure(args).run.dir == str(run_dir)


def test_quiet_prints_nothing(config_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train_door.main([str(config_file), f"run.dir={tmp_path / 'run'}", "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


MISTAKES = [
    ("train.sed=1", "train.sed: unknown key; did you mean seed?"),
    ("train.seed=many", "train.seed: expected a whole number"),
    ("algorithm.gamma=2", "algorithm.gamma: must be at most 1"),
    ("train.batch_size=1000", "train.batch_size: 1000 is more than the 16 transitions"),
    ("replay.capacity=2", "replay.capacity: must hold"),
    ("train.seed=[1", "train.seed: not valid YAML"),
    ("env.engine=unreal", "env.engine: unknown value 'unreal'; choose from fused, mjx"),
    ("env.name=walker", "env.name: unknown 'walker'; choose from swimmer"),
    ("env.name=no.such.module:Env", "env.name: cannot import"),
    ("env.name=probes:Nothing", "env.name: cannot import"),
    ("env.name=.probes:Cue", "env.name: cannot import"),
    ("env.name=os:getcwd", "env.name: 'os:getcwd'"),
    ("env.kwargs={depth: 3}", "env.depth: unknown"),
    ("env.links=5", "env.links: unknown"),
    ("network.hidden_sizes=[10_000_000, 10_000_000]", "network.hidden_sizes: the run needs"),
    ("run.dir=tiny.yaml", "run.dir: cannot"),
]


@pytest.mark.parametrize(("override", "line"), MISTAKES)
def test_a_mistake_is_one_line_and_status_2(
    override: str, line: str, config_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(config_file.parent)
    assert train_door.main(["tiny.yaml", override]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"error: {line}")
    assert [path.name for path in config_file.parent.iterdir()] == ["tiny.yaml"], "nothing is written"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("absent.yaml", None, "absent.yaml: cannot read the configuration: No such file"),
        ("bad.yaml", "train: [1", "bad.yaml: not valid YAML at line 1"),
        ("list.yaml", "- 1", "list.yaml: expected sections"),
        ("ant_v5", None, "did you mean paper/ant_v5 or tasks/ant_v5? shipped are "),
        ("sweep.yaml", "base: swimmer", "sweep.yaml: a sweep or a study of the configuration swimmer; "),
    ],
)
def test_a_bad_file_is_one_line_and_status_2(
    name: str, text: str | None, line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert train_door.main([str(tmp_path / name)]) == 2
    captured = capfd.readouterr()
    assert captured.err.count("\n") == 1
    assert line in captured.err


@pytest.mark.parametrize("arguments", [[], ["--fast"], ["tiny.yaml", "train.seed=1", "--fast"]])
def test_bad_arguments_are_one_line_and_status_2(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert train_door.main(arguments) == 2
    captured = capfd.readouterr()
    assert captured.err.count("\n") == 1
    assert "--help" in captured.err


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """`python -m sacbrax.train` in a process of its own, in `directory`."""
    here = Path(__file__).parents[1] / "support"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    command = [sys.executable, "-m", "sacbrax.train", *arguments]
    return subprocess.Popen(
        command, cwd=directory, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_the_command_exits_2_with_one_line(config_file: Path) -> None:
    process = start(config_file.parent, "tiny.yaml", "env.name=walker")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: env.name: unknown 'walker'")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_its_summary(number: signal.Signals, status: int, config_file: Path) -> None:
    overrides = ["run.dir=run", "train.total_env_steps=100_000_000", "run.compilation_cache=true"]
    process = start(config_file.parent, "tiny.yaml", *overrides)
    metrics, deadline = config_file.parent / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run does not get going"
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, "")
    *_, last = err.splitlines()
    assert re.fullmatch(r"interrupted at [\d,]+ env steps, saved in run; the same command goes on", last)
    assert "best return" not in err
    summary = json.loads((config_file.parent / "run" / "summary.json").read_text())
    assert summary["interrupted"] is True
    assert summary["metrics"] == rows(config_file.parent / "run")[-1]


def test_an_interrupted_run_that_saves_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(self: Reporter, metrics: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reporter, "evaluation", interrupt)
        assert run(make_tiny(f"run.dir={tmp_path / 'run'}", "checkpoint.full=false")).interrupted_by == signal.SIGTERM
    *_, last = capsys.readouterr().err.splitlines()
    assert re.match(
        r"interrupted at \d+ env steps; not saved, for checkpoint\.full is false; what was logged is in", last
    )


def test_the_library_is_the_command(tmp_path: Path) -> None:
    outcome = sacbrax.train(make_tiny(f"run.dir={tmp_path / 'run'}"), quiet=True)
    assert outcome.summary["best_return"] == 10
    assert isinstance(sacbrax.make_env("probes:Cue").observation_size, int)


def test_a_look_at_a_finished_run_keeps_what_it_says_of_itself(tmp_path: Path) -> None:
    """By whom and how fast it was trained."""
    config = make_tiny(f"run.dir={tmp_path / 'run'}")
    sacbrax.train(config, quiet=True)
    summary = tmp_path / "run" / "summary.json"
    told = json.loads(summary.read_text()) | {"git_revision": "of a year ago", "compile_seconds": 12.5}
    summary.write_text(json.dumps(told))
    assert sacbrax.train(config, quiet=True).summary == told
    assert json.loads(summary.read_text()) == told
    for wrong in ("{", "[]", json.dumps(told | {"metrics": {}})):
        summary.write_text(wrong)
        sacbrax.train(config, quiet=True)
        assert json.loads(summary.read_text())["metrics"] == told["metrics"]


def test_public_names_are_listed() -> None:
    assert set(sacbrax.__all__) <= set(dir(sacbrax))
    assert all(getattr(sacbrax, name) is not None for name in sacbrax.__all__)


def test_importing_the_package_touches_no_device() -> None:
    code = "import sys, sacbrax; assert 'jax' not in sys.modules and 'mujoco' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_centering_on_a_task_that_terminates_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, ends in (("ends", 2), ("goes_on", 0)):
        options = ("algorithm.reward_centering=0.01", f"env.kwargs={{terminate_at: {ends}}}")
        run(make_tiny(*options, f"run.dir={tmp_path / name}"), quiet=True)
        assert capsys.readouterr().err.count("warning: algorithm.reward_centering: ") == (1 if ends else 0)
