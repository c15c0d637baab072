"""All combinations of some settings run to a mark: the points, medians over seeds, the best, their text and figure."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from studies import processes, write_study

from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError
from sacbrax.study import figures, grid, grid_text, scaling
from sacbrax.sweep import __main__ as door

GRID = {"axes": {"env.num_envs": [4, 8], "train.updates_per_step": [1, 2]}, "seeds": 2, "updates": 40}
SCALE = {"mark": 5, "grid": GRID | {"eval_updates": 10}, "per_env": {"replay.capacity": 16}}


def test_all_combinations_with_one_seed_come_before_the_next_seed(tmp_path: Path) -> None:
    study = scaling.read(write_study(tmp_path, **SCALE), [])
    assert [point.kind for point in study.points] == ["roofline", *["grid"] * 8]
    configs = [point.config for point in study.points[1:] if point.config is not None]
    settings = [(c.train.seed, c.env.num_envs, c.train.updates_per_step) for c in configs]
    assert settings == [(s, n, u) for s in (0, 1) for n in (4, 8) for u in (1, 2)]
    last = configs[-1]
    assert last.replay.capacity == 16 * 8
    assert last.train.total_env_steps == last.train.exploration_env_steps + 8 * 40 // 2
    assert last.eval.every_env_steps == 8 * 10 // 2, "ten updates are five steps of eight environments"
    assert "run.compilation_cache=true" in study.command(study.points[1]), "its seeds share a program"
    assert study.asked(study.points[1])["mark"] == 5


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("scales.cpu.grid.axes={env.num_envs: [4, 8]}", "grid.axes: expected two configuration keys or more"),
        ("scales.cpu.grid.axes.env.num_envs=[]", "env.num_envs: expected a list of values"),
        ("scales.cpu.grid.seeds=0", "scales.cpu.grid.seeds: must be at least 1"),
        ("scales.cpu.grid.sees=1", "scales.cpu.grid.sees: unknown key; did you mean seeds?"),
        ("scales.cpu.mark=null", "scales.cpu.mark: missing"),
        ("scales.cpu.grid.axes={}", "scales.cpu: nothing to measure"),
        (
            "scales.cpu.grid.axes.train.batch_size=[4, 4.0]",
            "scales.cpu.grid.axes.train.batch_size: two of [4, 4.0] stand",
        ),
        ("scales.cpu.grid.axes.network.hidden_sizes=[[8, 4], [8]]", "network.hidden_sizes: two of"),
        (
            "scales.cpu.grid.axes.algorithm.preset=[sac, redq]",
            "algorithm.preset: expected numbers along an axis, got 'sac'",
        ),
        ("scales.cpu.grid.axes.algorithm.target_entropy=[null, -1]", "algorithm.target_entropy: expected numbers"),
        ("scales.cpu.grid.axes.train.seed=[0, 1]", "grid.axes.train.seed: set by the study; use grid.seeds"),
        ("scales.cpu.grid.axes.train.num_seeds=[1, 2]", "grid.axes.train.num_seeds: set by the study; use grid.seeds"),
        ("scales.cpu.grid.axes.eval.every_env_steps=[8]", "set by the study; use grid.eval_updates"),
        ("scales.cpu.fixed.train.total_env_steps=99", "scales.cpu.fixed.train.total_env_steps: set by the study"),
        ("scales.cpu.grid.axes.replay.capacity=[64, 128]", "replay.capacity: grows with env.num_envs, as per_env says"),
        ("scales.cpu.per_env.replay.capacity=a", "scales.cpu.per_env.replay.capacity: expected an integer, got 'a'"),
        ("scales.cpu.grid.axes.env.num_envs=[a]", "env.num_envs: expected"),
        ("scales.cpu.grid.axes.train.updates_per_step=[0]", "train.updates_per_step: must be at least 1"),
        ("scales.cpu.fixed.train.update_interval=0", "train.update_interval: must be at least 1"),
        ("scales.cpu.fixed.train.exploration_env_steps=x", "train.exploration_env_steps: expected"),
        ("scales.cpu.fixed.train.batch_size=2026-01-01", "train.batch_size: expected"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, override: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, **SCALE)
    assert door.main([str(path), override]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    with pytest.raises(ConfigError):
        scaling.read(path, [override])


def result(seconds: float | None, steps: int = 0, updates: int = 0) -> dict[str, Any]:
    if seconds is None:
        return {"seconds": None, "seconds_without_compilation": None}
    return {
        "seconds": seconds + 7.0,
        "seconds_without_compilation": seconds,
        "env_steps": steps,
        "gradient_steps": updates,
    }


RUNS = [
    ((64.0, 1.0), result(20.0, 1000, 100)),
    ((16.0, 4.0), result(None)),
    ((16.0, 1.0), result(40.0, 400, 900)),
    ((64.0, 4.0), result(30.0, 300, 800)),
    ((16.0, 4.0), result(5.0, 50, 500)),
    ((64.0, 1.0), result(10.0, 3000, 300)),
    ((64.0, 1.0), result(None)),
]


def test_medians_count_a_run_that_never_came_to_the_mark_as_infinity() -> None:
    found = grid.cells(RUNS)
    assert [cell.values for cell in found] == [(16.0, 1.0), (16.0, 4.0), (64.0, 1.0), (64.0, 4.0)]
    assert found[0] == grid.Cell((16.0, 1.0), 1, 1, 40.0, 400.0, 900.0)
    assert (found[1].runs, found[1].reached, found[1].seconds) == (2, 1, math.inf), "half is not most"
    assert found[2] == grid.Cell((64.0, 1.0), 3, 2, 20.0, 3000.0, 300.0)


def test_the_best_by_each_cost() -> None:
    found = grid.cells(RUNS)
    assert [cell.values for cell in grid.best(found, (0,), "seconds")] == [(16.0, 1.0), (64.0, 1.0)]
    assert [cell.values for cell in grid.best(found, (0,), "env_steps")] == [(16.0, 1.0), (64.0, 4.0)]
    assert [cell.values for cell in grid.best(found, (1,), "seconds")] == [(64.0, 1.0), (64.0, 4.0)]


def test_the_text_and_the_rows(tmp_path: Path) -> None:
    scale = scaling.read(write_study(tmp_path, **SCALE), []).scale
    text = grid_text.section(scale, grid.cells(RUNS), first_seed=0, figure=4, table=2)
    assert "| 16 | 40.0 (1) | 400 (1) | 900 (1) |" in text
    assert "| 64 | 20.0 (1) | 300 (4) | 300 (1) |" in text
    assert "| 16 | 4 | 1 of 2 | not reached | not reached | not reached |" in text
    assert "*Table 3. All combinations.*" in text
    lines = grid_text.as_csv(scale, grid.cells(RUNS)).splitlines()
    assert lines[0] == "env.num_envs,train.updates_per_step,runs,reached,seconds,env_steps,gradient_steps"
    assert lines[2] == "16.0,4.0,2,1,,,"
    assert lines[4] == "64.0,4.0,1,1,30.0,300.0,800.0"


@pytest.mark.parametrize(
    "runs",
    [RUNS, [(values, result(None)) for values, _ in RUNS], [(values, result(1.0, 16, 0)) for values, _ in RUNS]],
    ids=["some", "none", "before the first update"],
)
def test_the_figure(tmp_path: Path, runs: Any) -> None:
    axes = ["env.num_envs", "train.updates_per_step"]
    figures.isoefficiency(tmp_path / "grid.png", axes, grid.cells(runs), 5.0)
    with Image.open(tmp_path / "grid.png") as image:
        assert np.asarray(image.convert("L")).std() > 5


def test_what_suits_every_combination_need_not_suit_the_base(tmp_path: Path) -> None:
    """Whose four environments explore too little for a minibatch of 32."""
    scale = SCALE | {"per_env": {"train.exploration_env_steps": 4}, "fixed": {"train.batch_size": 32, "train.seed": 7}}
    scale["grid"] = GRID | {"axes": {"env.num_envs": [8, 16], "train.updates_per_step": [1, "2"]}}
    study = scaling.read(write_study(tmp_path, **scale), [])
    found = [(p.config.train.seed, p.config.train.updates_per_step) for p in study.points if p.config is not None]
    assert found == [(seed, updates) for seed in (7, 8) for _ in (8, 16) for updates in (1, 2)]


def test_a_run_that_fails_is_no_run_below_the_mark(tmp_path: Path, instead_of_python) -> None:
    """Though it has evaluations: it would be kept, and never run again."""
    study = scaling.read(write_study(tmp_path, **SCALE), [])
    study.directory.mkdir()
    instead_of_python(processes(tmp_path, ["1.0"], "echo killed >&2; exit 137"))
    with pytest.raises(RunError, match="ended with 137: killed"):
        scaling.measure(study, Console(quiet=True))
    assert (study.directory / "points.jsonl").read_text().count("\n") == 1


def test_a_run_may_say_much(tmp_path: Path, instead_of_python) -> None:
    """More than a pipe holds."""
    study = scaling.read(write_study(tmp_path, **SCALE), [])
    study.directory.mkdir()
    instead_of_python(processes(tmp_path, ["1.0"], "head -c 200000 /dev/zero >&2"))
    rows = scaling.measure(study, Console(quiet=True))
    assert [row["result"]["seconds"] for row in rows[1:]] == [None] * 8


@pytest.mark.parametrize(("axes", "pictures"), [({"env.num_envs": [4]}, 4), ({}, 1)], ids=["beside rates", "alone"])
def test_a_study_of_a_grid_writes_its_part_of_the_report(
    tmp_path: Path, instead_of_python, axes: dict[str, Any], pictures: int
) -> None:
    machine = {"platform": "cpu", "device": "d", "cpus": 2}
    roof: dict[str, Any] = {"matmul_flops_per_second": 1.0, "matmul_size": 8, "machine": machine}
    roof |= {"bytes_per_second": {"memory": 1.0, "cache": 2.0}, "triad_bytes": {"memory": 8, "cache": 4}}
    rates: dict[str, Any] = {"env_steps_per_second": 2.0, "gradient_steps_per_second": 1.0, "compile_seconds": 1.0}
    rates |= {"vector_steps_per_second": {"median": 2.0, "lowest": 2.0, "highest": 2.0}}
    rates |= {"predicted_bytes": 8, "peak_device_bytes": None, "peak_rss_bytes": 8}
    instead_of_python(processes(tmp_path, ["1.0", "6.0"], "exit 0", roof, rates))
    path = write_study(tmp_path, **SCALE, axes=axes)
    assert scaling.main(path, [], as_json=False, quiet=True) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| 8 | 2 | 2 of 2 | 0.0 | 2 | 2 |" in text
    assert (tmp_path / "out" / "grid.csv").read_text().count("\n") == 5
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/png") == pictures
    assert f"![Figure {pictures}](isoefficiency.png)" in text
    assert ("## Rates" in text) == bool(axes)
    assert scaling.measure(scaling.read(path, []), Console(quiet=True))[-1]["result"]["seconds"] == 2.0
