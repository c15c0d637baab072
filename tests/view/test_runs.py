"""What is found below a directory, and what is said of it: of whole, begun, damaged and unfriendly runs."""

import itertools
import json
import math
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_run

from sacbrax import config as config_lib
from sacbrax import list as door
from sacbrax.config import ConfigError
from sacbrax.run import warm_start
from sacbrax.view import runs as runs_lib
from sacbrax.view.metrics import last_row, read_columns, read_metrics


def test_runs_and_sweeps_are_found(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    make_run(tmp_path / "deep" / "er" / "two")
    make_run(tmp_path / ".hidden" / "three")
    make_run(tmp_path / "sweep" / "runs" / "trial_0000")
    (tmp_path / "sweep" / "trials.jsonl").write_text('{"trial": 0, "parameters": {"a.b": 1}}\nno json\n[1]\n{"a": 1}\n')
    (tmp_path / "link").symlink_to(tmp_path / "one")
    found, sweeps = runs_lib.find(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in found]
    assert names == ["deep/er/two", "one", "sweep/runs/trial_0000"]
    assert sweeps == [tmp_path / "sweep"]
    assert runs_lib.read_sweep(sweeps[0], tmp_path).trials == [{"trial": 0, "parameters": {"a.b": 1}}]


def test_a_run_by_itself_is_found(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    assert runs_lib.find(run)[0] == [run]
    assert runs_lib.overview(run, run).name == "one"


def test_a_shared_configuration_has_no_paths_of_its_machine(tmp_path: Path) -> None:
    """But the names that another one knows, and a path that is seen from wherever one is."""
    private = ("init.from=/home/alice/first/best.npz", "replay.prior=/data/alice/old.npz", "run.dir=/home/alice/run")
    text = runs_lib.portable_config(make_run(tmp_path / "private", *private))
    assert text is not None
    assert "alice" not in text
    assert text.startswith("# init.from is a file of the machine that trained; say where yours lies\n# replay.prior is")
    config = config_lib.parse(text, "shared")
    assert (config.init.from_, config.replay.prior, config.run.dir) == ("best.npz", "old.npz", None)
    with pytest.raises(ConfigError, match=r"^init\.from: best\.npz"):  # one line for who has no such file
        warm_start.load(config, None)
    public = make_run(tmp_path / "public", "init.from=hf:alice/first", "replay.prior=data/old.npz")
    shared = config_lib.parse(runs_lib.portable_config(public) or "", "shared")
    assert (shared.init.from_, shared.replay.prior) == ("hf:alice/first", "data/old.npz")


def test_overview(tmp_path: Path) -> None:
    done = make_run(tmp_path / "done", rows=400, returns=lambda t: 5.0 if t == 7 else 1.0)
    seen = runs_lib.overview(done, tmp_path)
    assert (seen.name, seen.task, seen.env_steps, seen.state) == ("done", "swimmer", 39_900, "done")
    assert (seen.last_return, seen.best_return) == (1.0, 5.0)
    assert "train/temperature" in seen.metrics
    running = make_run(tmp_path / "open", finished=False)
    assert runs_lib.overview(running, tmp_path).state == "open"
    (running / "summary.json").write_text('{"interrupted": true}')
    assert runs_lib.overview(running, tmp_path).state == "interrupted"
    os.utime(running / "metrics.jsonl", (time.time() - 7300,) * 2)
    assert runs_lib.age(runs_lib.overview(running, tmp_path)) == "2 h"


@pytest.mark.parametrize(
    "content", ["\0", "[" * 100_000, "nonsense", "[]", '{"interrupted": "<b>", "best_return": "x"}']
)
def test_whatever_the_files_hold(tmp_path: Path, content: str) -> None:
    run = make_run(tmp_path / "run")
    for name in ("metrics.jsonl", "summary.json", "config.yaml"):
        (run / name).write_text(content)
    seen = runs_lib.overview(run, tmp_path)
    assert (seen.task, seen.env_steps, seen.last_return, seen.best_return, seen.state) == ("", 0, None, None, "open")


def test_a_run_that_is_being_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows=3)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"env_steps": 300, "eval/retu')
    assert [row["env_steps"] for row in read_metrics(run)] == [0, 100, 200]
    assert last_row(run)["env_steps"] == 200


def test_a_last_row_longer_than_the_end_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of hundreds of seeds."""
    monkeypatch.setattr("sacbrax.view.metrics.TAIL_BYTES", 50)
    row = {"env_steps": 7, "eval/return_mean": 1.5} | {f"seed_{i}/eval/return_mean": 1.5 for i in range(40)}
    (tmp_path / "metrics.jsonl").write_text((json.dumps(row | {"env_steps": 3}) + "\n") + (json.dumps(row) + "\n"))
    assert last_row(tmp_path) == row
    (tmp_path / "metrics.jsonl").write_text("no row\n" * 100)
    assert last_row(tmp_path) is None


def test_the_last_row_of_a_long_file_and_an_even_choice(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows=2000)
    assert last_row(run)["env_steps"] == 199_900
    steps = [row["env_steps"] for row in read_metrics(run, most=101)]
    assert len(steps) == 101
    assert (steps[0], steps[-1]) == (0, 199_900)
    gaps = {b - a for a, b in itertools.pairwise(steps)}
    assert gaps <= {1900, 2000}
    assert len(read_metrics(run, most=5000)) == 2000


def test_no_evaluation_yet(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows=0)
    assert last_row(run) is None
    with pytest.raises(ConfigError, match="no evaluation"):
        read_metrics(run)
    (run / "metrics.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"no run directory with a metrics\.jsonl"):
        read_metrics(run)


def test_list_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "old\x1b[31m")
    os.utime(tmp_path / "old\x1b[31m" / "metrics.jsonl", (1, 1))
    make_run(tmp_path / "new", returns=lambda t: 12.25)
    assert door.main(["runs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    _, first, second = printed.splitlines()
    assert first.startswith("new ")
    assert "12.2" in first
    assert second.startswith("old\\x1b[31m")
    assert "\x1b" not in printed
    assert door.main(["runs", str(tmp_path / "absent")]) == 2
    assert "absent: no such directory" in capsys.readouterr().err


def test_list_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([]) == 0
    printed = capsys.readouterr().out
    for line in ("halfcheetah_v5 ", "paper/swimmer_rllab_gmm ", "swimmer +swimmer +8 ", "playground:NAME "):
        assert re.search(f"\n{line}", printed), line
    assert door.main(["policies"]) == 0
    assert ["swimmer", "swimmer", "8", "2"] in [line.split()[:4] for line in capsys.readouterr().out.splitlines()]


def test_rows_are_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows=2)
    text = json.dumps({"env_steps": "many", "eval/return_mean": 1.0}) + "\n"
    with (run / "metrics.jsonl").open("a") as file:
        file.write(text)
    assert len(read_metrics(run)) == 2


@pytest.mark.parametrize(
    "line",
    [
        '{"env_steps": 500, "eval/return_mean": 7.5, "train/x": 3.0}',
        '{"train/x": 3.0, "eval/return_mean": 7.5, "env_steps": 500}',
        '{"env_steps": 500, "eval/return_mean": 7.5, "train/x": null}',
        '{"env_steps": 500, "eval/return_mean": 7.5, "train/x": 1e39}',
        '{"env_steps": 500, "eval/return_mean": 7.5, "train/x": NaN}',
        '{"env_steps": 500, "eval/return_mean": NaN, "train/x": 3.0}',
        '{"env_steps": null, "eval/return_mean": 7.5, "train/x": 3.0}',
        '{"env_steps":500,"eval/return_mean":7.5,"train/x":3.0}',
        '{"env_steps": 500, "eval/return_mean": 7.5, "train/x": true}',
        '{"env_steps": 500, "eval/return_mean": 7.5, "train/x": "3.0"}',
        '{"env_steps": 500, "eval/return_mean": 7.5, "a": {"train/x": 3.0}}',
        r'{"env_steps": 500, "eval/return_mean": 7.5, "a\"train/x": 3.0}',
        '{"env_steps": 500, "eval/return_mean": 7.5, "a": "train/x", "train/xx": 3.0}',
        '{"env_steps": 500, "eval/return_mean": 7.5, "train/x": 3.0',
        '["env_steps", 500]',
        "nonsense",
    ],
)
def test_columns_are_the_rows_values(tmp_path: Path, line: str) -> None:
    """What is looked for as text is what the parsed row has."""
    run = make_run(tmp_path / "run", rows=2, more=lambda t: {"train/x": 0.5})
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f"{line}\n")
    columns, rows = read_columns(run, ["train/x"]), read_metrics(run)
    for key in ("env_steps", "eval/return_mean", "train/x"):
        expected = [math.nan if row.get(key) is None else row[key] for row in rows]
        np.testing.assert_array_equal(columns[key], expected)


def test_columns_of_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no evaluation"):
        read_columns(make_run(tmp_path / "run", rows=0), ["train/x"])
