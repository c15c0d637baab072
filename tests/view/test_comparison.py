"""Runs side by side: seeds gathered, intervals, the way to a mark, settings that differ; as text, CSV and a page."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from browser import needs_browser, open_page
from made_runs import make_run

from sacbrax import compare as door
from sacbrax.view import comparison

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two seeds of one configuration and one of another, whose best is not its last."""
    return [
        str(make_run(tmp_path / "s0", "train.seed=0")),
        str(make_run(tmp_path / "s1", "train.seed=1", returns=lambda t: 20.0 * t)),
        str(make_run(tmp_path / "fast", "algorithm.learning_rate=0.01", returns=lambda t: 30.0 if t == 2 else 5.0)),
    ]


def test_seeds_are_one_line(runs: list[str]) -> None:
    first, second = comparison.compare(comparison.groups(runs), comparison.Asked(mark=25.0))
    assert (first.seeds, second.seeds) == (2, 1)
    assert first.runs == runs[:2]
    assert first.final.value == first.best.value == 60.0  # of 40 and 80
    assert (first.final.low, first.final.high) == (40.0, 80.0), "of two seeds the ends of the bootstrap"
    assert (second.final.value, second.best.value) == (5.0, 30.0)
    assert (second.best.low, second.best.high) == (28.5, 31.5), "one standard deviation over episodes"


def test_the_way_to_a_mark_is_the_seeds_median(runs: list[str], tmp_path: Path) -> None:
    first, second = comparison.compare(comparison.groups(runs), comparison.Asked(mark=25.0))
    assert first.mark == comparison.Mark(2, 250.0, 5.0)  # of 300 steps, 6 s and 200 steps, 4 s
    assert second.mark == comparison.Mark(1, 200.0, 4.0)
    (late,) = comparison.compare(comparison.groups(runs[:2]), comparison.Asked(mark=50.0))
    assert late.mark == comparison.Mark(1, math.inf, math.inf), "one of two seeds is no median"
    assert "not reached" in comparison.text([late], comparison.Asked(mark=50.0))


def test_returns_after_equal_steps_and_seconds(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The newest evaluation by then; the runs have evaluations after 100 steps and 2 s each, the last after 400."""
    asked = comparison.Asked(steps=299, seconds=6.0)
    first, second = comparison.compare(comparison.groups(runs), asked)
    assert (first.at_steps.value, first.at_steps.low, first.at_steps.high) == (30.0, 20.0, 40.0)
    assert first.at_seconds.value == 45.0
    assert (second.at_steps.value, second.at_seconds.value) == (30.0, 5.0)
    beyond = comparison.Asked(seconds=8.5)
    assert math.isnan(comparison.compare(comparison.groups(runs), beyond)[0].at_seconds.value)
    assert door.main([*runs, "--at-steps", "299", "--at-seconds", "8.5"]) == 0
    printed = capsys.readouterr().out
    assert "30.0 [20.0, 40.0]" in printed
    assert "shorter" in printed


def test_several_seeds_of_one_run(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run",
        "train.num_seeds=12",
        returns=lambda t: 5.5 * t,
        more=lambda t: {
            f"seed_{i}/eval/return_{kind}": value for i in range(12) for kind, value in (("mean", i * t), ("std", 1.0))
        },
    )
    (entry,) = comparison.compare(comparison.groups([str(run)]), comparison.Asked(mark=4.0))
    assert entry.seeds == 12
    assert entry.final.value == np.mean([4 * i for i in range(12)])
    assert entry.mark.seeds == 11, "all but the one that stays at 0"


def test_text(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([*runs, "--mark", "25"]) == 0
    printed = capsys.readouterr().out
    assert "60.0 [40.0, 80.0]" in printed
    assert "2 of 2" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("algorithm.learning_rate")]
    assert line.split()[-1] == "0.01"
    assert "env.num_envs" not in printed, "it does not differ"


def test_csv_has_numbers(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([*runs, "--out", str(tmp_path / "table.csv")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "table.csv")
    first, second = csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text()))
    assert float(first["last"]) == 60.0
    assert float(second["best_high"]) == 31.5
    assert first["env_steps_to_mark"] == "", "no mark was asked for"
    assert second["algorithm.learning_rate"] == "0.01"
    assert first["runs"].split() == runs[:2]


@needs_browser
def test_page(tmp_path: Path) -> None:
    names = [f"a{HOSTILE.replace('/', '')}", "b"]
    settings = f"logging.wandb_project={HOSTILE!r}", "env.name='x.y:<b>Z'"
    runs = [str(make_run(tmp_path / name, *settings, f"algorithm.tau=0.0{i + 1}")) for i, name in enumerate(names)]
    page = tmp_path / "page.html"
    assert door.main([*runs, "--mark", "25", "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>" not in text
    assert "algorithm.tau" in text
    picture, console = open_page(page, 390, 900)
    assert console == []
    assert (picture.astype(int).max(axis=-1) < 100).sum() > 500, "letters and curves"


def test_a_terminal_is_told_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "red\x1b[31m")
    assert door.main([str(run)]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["nowhere"], "nowhere"), (["RUN", "--out", "x.pdf"], "x.pdf"), (["RUN", "--format", "xls"], "xls"), ([], "RUN")],
)
def test_a_mistake_is_one_line_and_status_2(
    runs: list[str], arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main([argument.replace("RUN", runs[0]) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error:")
    assert error.count("\n") == 1
    assert word in error
