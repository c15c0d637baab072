"""A suite of tasks: which runs there are, how long each is let go on, what is not trained again, and the table."""

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import make_run

from sacbrax.bench import suite, suite_results
from sacbrax.bench.__main__ import main, parse
from sacbrax.config import ConfigError

SHRUNK = ("env.num_envs=4", "env.episode_length=6", "network.hidden_sizes=[8]", "train.batch_size=8",
          "train.updates_per_step=1", "train.exploration_env_steps=16", "replay.capacity=512", "eval.episodes=2",
          "eval.every_env_steps=16")  # fmt: skip


def prepared(*words: str) -> Any:
    _, args = parse(["suite", *words])
    suite.prepare(args)
    return args


def test_every_task_and_seed_is_a_run_with_the_recipe(tmp_path: Path) -> None:
    args = prepared("--tasks", "CheetahRun", "swimmer", "--seeds", "2", "--out", f"{tmp_path}", "train.batch_size=64")
    assert [(job.task, job.seed) for job in args.jobs] == [
        ("CheetahRun", 0), ("swimmer", 0), ("CheetahRun", 1), ("swimmer", 1),
    ]  # fmt: skip
    assert args.jobs[2].words == (
        "playground/dm_control", "train.batch_size=64", "env.name=playground:CheetahRun", "train.seed=1",
        f"run.dir={tmp_path}/CheetahRun/seed_1",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"train\.batch_size"):
        prepared("--tasks", "CheetahRun", "train.batch_size=0")


def test_a_run_gets_its_time_once_and_more_when_more_is_asked(
    tmp_path: Path, instead_of_python: Callable[[str], None]
) -> None:
    run = make_run(tmp_path / "swimmer" / "seed_0")
    (run / "summary.json").write_text(json.dumps({"wall_seconds": 9.5}))
    (job,) = prepared("--tasks", "swimmer", "--out", f"{tmp_path}").jobs
    told = tmp_path / "told"
    # A run of its own that goes on for ever, and saves when it is asked to end.
    instead_of_python(f"echo begun >>{told}; trap 'echo ended >>{told}; exit 143' TERM; while :; do sleep 0.02; done")
    assert not suite.finished(job, 10.0)
    begin = time.perf_counter()
    assert suite.train(job, 10.0) is None
    assert time.perf_counter() - begin < 8.0
    assert told.read_text().split() == ["begun", "ended"]
    assert suite.finished(job, 10.0)
    assert not suite.finished(job, 11.0)
    instead_of_python("exit 0")  # at its end, sooner than asked
    assert suite.train(job, 11.0) is None
    assert suite.finished(job, 1000.0)
    (other,) = prepared("--tasks", "swimmer", "--out", f"{tmp_path}", "train.batch_size=64").jobs
    with pytest.raises(ConfigError, match=r"^--out: .*seed_0 was trained by: playground/dm_control env\.name=swimmer"):
        suite.finished(other, 10.0)


def test_one_that_fails_is_in_the_table_and_the_next_is_trained(
    tmp_path: Path, instead_of_python: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "b" / "inverted_pendulum" / "seed_0")
    (run / "summary.json").write_text(json.dumps({"wall_seconds": 8.0}))
    instead_of_python(
        'case "$*" in *swimmer*) echo Traceback >&2; echo "error: no files" >&2; exit 2;; *) exit 0;; esac'
    )
    assert main(["suite", "--tasks", "swimmer", "inverted_pendulum", "--out", f"{tmp_path}/b", "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    failed, fine = result["tasks"]
    assert (failed["error"], failed["seeds"], failed["last_return"]) == ("error: no files", 0, None)
    assert (fine["error"], fine["seeds"], fine["last_return"]) == ("", 1, 40.0)
    assert result["mean_return"] is None
    assert "not measured, for some have none" in (tmp_path / "b" / "suite.md").read_text()
    instead_of_python("exec sleep 9")  # ended before there was anything to save
    assert main(["suite", "--tasks", "swimmer", "--seconds", "0.1", "--out", f"{tmp_path}/c"]) == 0
    assert "nothing was trained within 0.1 s" in capfd.readouterr().out


def test_the_mean_over_tasks_by_time(tmp_path: Path) -> None:
    """Means over seeds first; a task counts 0 until its first evaluation, and then as its newest says."""
    runs = [
        ("a", make_run(tmp_path / "a0", rows=3)),  # 0, 10, 20 after 0, 2 and 4 s
        ("a", make_run(tmp_path / "a1", rows=3, returns=lambda t: 30.0 * t)),
        ("b", make_run(tmp_path / "b0", rows=2, returns=lambda t: 100.0 - t, more=lambda t: {"wall_seconds": 3.0 + t})),
    ]
    result = suite_results.collect(runs, {}, 5.0)
    assert result["times"] == [0, 2, 3, 4]
    assert result["curves"] == {"a": [0, 20, 20, 40], "b": [0, 0, 100, 99]}
    a, b = result["tasks"]
    assert (a["seeds"], a["env_steps"], a["seconds"], a["last_return"], a["best_return"]) == (2, 200, 4, 40, 40)
    assert (b["seeds"], b["last_return"], b["best_return"], result["mean_return"]) == (1, 99, 100, (40 + 99) / 2)
    suite_results.write(tmp_path, result)
    with (tmp_path / "suite.csv").open() as file:
        assert [row["last_return"] for row in csv.DictReader(file)] == ["40.0", "99.0"]
    page = (tmp_path / "suite.md").read_text()
    assert "| a | 2 | 200 | 4 | 40.0 | 40.0 |" in page
    assert "mean of the last returns of 2 tasks after 5 s each: 69.5" in page
    assert "659, Brax's SAC, at its end; 774, REPPO, on a GPU, in 568 s" in page
    assert (tmp_path / "suite.png").stat().st_size > 10_000


def test_the_picture_has_the_mean_and_the_public_figures(tmp_path: Path) -> None:
    result = suite_results.collect([("a", make_run(tmp_path / "a0", rows=3)), ("b", tmp_path / "none")], {}, 5.0)
    plt = suite_results.load_matplotlib()
    figure = suite_results.draw(plt, result)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines["mean of 2 tasks"].get_ydata(), [0, 5, 10])
    assert lines["Brax's SAC, at its end: 659"].get_ydata()[0] == 659
    assert (lines["REPPO, on a GPU: 774"].get_xdata()[0], lines["REPPO, on a GPU: 774"].get_ydata()[0]) == (568, 774)
    plt.close(figure)


@pytest.mark.slow
def test_a_suite_trains_and_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["suite", "swimmer", "--tasks", "swimmer", "inverted_pendulum", "--out", f"{tmp_path}/suite", *SHRUNK]
    words += ["--seconds", "600", "train.total_env_steps=48", "run.compilation_cache=false", "--json"]
    assert main(words) == 0
    result = json.loads(capfd.readouterr().out)
    assert [(row["task"], row["env_steps"], row["error"]) for row in result["tasks"]] == [
        ("swimmer", 48, ""), ("inverted_pendulum", 48, ""),
    ]  # fmt: skip
    assert result["mean_return"] is not None
    assert main(words) == 0
    assert json.loads(capfd.readouterr().out) == result
