"""The scaling study: its points, the roofs it draws, its report from known numbers; slow: a small one for real."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console
from studies import processes, write_study
from tiny_config import TINY, make_tiny

from sacbrax.bench.roofline import bound
from sacbrax.bench.work import update_bytes
from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError
from sacbrax.study import figures, report, scaling
from sacbrax.sweep import __main__ as door

SHIPPED = Path(__file__).parents[2] / "configs" / "scaling.yaml"


AXES = {"env.num_envs": [4, 8], "network.hidden_sizes": [[8], [16]]}
SMALL = {"axes": AXES, "mark": 5, "mark_axes": {"env.num_envs": [4]}, "per_env": {"replay.capacity": 16}}


@pytest.mark.parametrize(
    ("algorithm", "numbers"),
    [
        # 1 -> 2 -> 1 networks; critic 2 -> 2 -> 1, actor 1 -> 2 -> 2. Parameters 7, 9, 10; activations per row 3, 3, 4.
        ("sac_v1", 10 * (10 + 18) + 5 * 4 + 2 * (5 * 3 + 5 * 3) + 14 * 7 + 7 * 3 + 2 * 5),
        ("sac_v2", 10 * (10 + 18) + 5 * 4 + 2 * (5 * 3 + 5 * 3) + 4 * 18 + 2 * 4 + 4 * 3 + 2 * 5),
    ],
)
def test_bytes_of_an_update_counted_by_hand(algorithm: str, numbers: int) -> None:
    sizes = ("network.hidden_sizes=[2]", "train.batch_size=1")
    assert update_bytes(make_tiny(f"algorithm.name={algorithm}", *sizes), observation=1, action=1) == 4 * numbers


def test_a_point_is_under_the_lower_roof() -> None:
    roof = {"matmul_flops_per_second": 100.0, "bytes_per_second": {"memory": 10.0, "cache": 50.0}}
    assert bound(roof, 5.0, 1.0) == 50.0
    assert bound(roof, 20.0, 1.0) == 100.0
    assert bound(roof, 1.0, 1.0, "cache") == 50.0


def test_points_of_a_study(tmp_path: Path) -> None:
    study = scaling.read(write_study(tmp_path, **SMALL), [])
    assert [point.kind for point in study.points] == ["roofline", "rates", "rates", "rates", "mark"]
    base = study.points[1]
    assert base.axes == ("env.num_envs", "network.hidden_sizes"), "the base point is measured once"
    larger, wider, mark = (point.config for point in study.points[2:])
    assert larger is not None
    assert wider is not None
    assert mark is not None
    assert (larger.env.num_envs, larger.replay.capacity, larger.network.hidden_sizes) == (8, 128, (8,))
    assert (wider.env.num_envs, wider.replay.capacity, wider.network.hidden_sizes) == (4, 64, (16,))
    assert mark.train.total_env_steps == 16 + 4 * 12_000 // 2, "12,000 updates at two a step"


def test_an_override_reaches_one_configuration_key_of_one_scale() -> None:
    """Though YAML's alias gives several scales the same `per_env`."""
    changed = ["scales.cpu.per_env.replay.capacity=2048", "scales.cpu.axes.train.num_seeds=[1, 8]"]
    cpu, gpu = (scaling.read(SHIPPED, [*changed, f"scale={scale}"]).scale for scale in ("cpu", "gpu"))
    assert (cpu.per_env["replay.capacity"], cpu.per_env["eval.every_env_steps"]) == (2048, 500)
    assert cpu.axes["train.num_seeds"] == [1, 8]
    assert gpu.per_env["replay.capacity"] == 1024


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_shipped_study(scale: str) -> None:
    study = scaling.read(SHIPPED, [f"scale={scale}"])
    assert {axis for point in study.points for axis in point.axes} == {
        "env.num_envs",
        "train.batch_size",
        "train.updates_per_step",
        "train.num_seeds",
        "network.hidden_sizes",
    }
    assert study.directory == Path("runs") / "scaling" / scale
    base = next(point for point in study.points if len(point.axes) == 5)
    assert base.config is not None
    assert base.config.env.num_envs == 256


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["scale=moon"], "scale: unknown value 'moon'; choose from cpu"),
        (["scales.cpu.axes={env.num_envs: []}"], "env.num_envs: expected a list"),
        (["scales.cpu.axes={env.num_env: [4]}"], "env.num_env: unknown key"),
        (["scales.cpu.fixed={train.batch_size: 9999}"], "train.batch_size: 9999 is more than"),
        (["scales.cpy.mark=3"], "scales.cpy: unknown; choose from cpu"),
        (["sale=cpu"], "sale: unknown key; did you mean scale?"),
        (["base=null"], "base: the configuration file"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    tmp_path: Path, overrides: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main([str(write_study(tmp_path, **SMALL)), *overrides]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    with pytest.raises(ConfigError):
        scaling.read(write_study(tmp_path, **SMALL), overrides)


def results(study: scaling.Study) -> list[dict[str, Any]]:
    """Rows as `scaling.measure` gives them, with numbers known in advance."""
    machine = {"device": "cpu", "platform": "cpu", "cpus": 2, "jax": "x"}
    roof = {"machine": machine, "matmul_flops_per_second": 1e9, "matmul_size": 64}
    roof |= {"bytes_per_second": {"memory": 1e9, "cache": 4e9}, "triad_bytes": {"memory": 2**20, "cache": 2**10}}
    rates = {"env_steps_per_second": 1000.0, "gradient_steps_per_second": 500.0, "compile_seconds": 2.0}
    rates |= {"vector_steps_per_second": {"median": 2.0, "lowest": 1.0, "highest": 3.0}, "predicted_bytes": 2**20}
    rates |= {"peak_device_bytes": None, "peak_rss_bytes": 2**28}
    curve = [{"env_steps": 9, "gradient_steps": 3, "wall_seconds": w, "eval/return_mean": w} for w in (1.0, 6.0)]
    mark = {"mark": 5.0, "seconds": 6.0, "seconds_without_compilation": 4.0, "compile_seconds": 2.0, "best_return": 6.0}
    mark |= {"env_steps": 9, "gradient_steps": 3, "evaluations": curve}
    found = {"roofline": roof, "rates": rates, "mark": mark}
    return [{"kind": p.kind, "axes": list(p.axes), "result": found[p.kind], "command": "c"} for p in study.points]


def test_the_report_of_known_numbers(tmp_path: Path) -> None:
    study = scaling.read(write_study(tmp_path, **SMALL), [])
    study.directory.mkdir()
    written = report.write(study, results(study), "python -m sacbrax.sweep study.yaml")
    text = (study.directory / "report.md").read_text()
    assert [path.name for path in written] == ["report.html", "report.md", "rates.csv"]
    assert "| 4 | 1,000 | 500 | 0.50-1.50 |" in text
    assert "| 4 | 6.0 | 4.0 | 2.0 | 9 | 3 | 6.0 |" in text
    assert "256 | 1.0 |" in text, "MiB of the process and of the state"
    html = (study.directory / "report.html").read_text()
    assert html.count('src="data:image/png;base64,') == 5
    assert '.png"' not in html
    assert html.count("<table>") == 3
    for name in ("rates.png", "roofline.png", "costs.png", "marks.png", "samples.png"):
        with Image.open(study.directory / name) as image:
            assert np.asarray(image.convert("L")).std() > 5, name
    lines = (study.directory / "rates.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[1].startswith("env.num_envs,4.0,1000.0,500.0,")


def test_a_mark_that_nobody_reached_is_drawn_as_nothing(tmp_path: Path) -> None:
    row = {"x": 4.0, "seconds": None, "env_steps": None, "gradient_steps": None}
    figures.samples(tmp_path / "samples.png", {"env.num_envs": [row]}, 5.0)
    assert (tmp_path / "samples.png").exists()


def test_a_mark_that_was_passed_before_the_first_update_has_no_place(tmp_path: Path) -> None:
    """On axes of logarithms, of which matplotlib would warn."""
    row = {"x": 4.0, "seconds": 1.0, "env_steps": 16, "gradient_steps": 0}
    figures.samples(tmp_path / "samples.png", {"env.num_envs": [row]}, 5.0)
    assert (tmp_path / "samples.png").exists()


def test_every_point_is_a_process_and_is_measured_once(tmp_path: Path, instead_of_python) -> None:
    study = scaling.read(write_study(tmp_path, **SMALL), [])
    study.directory.mkdir()
    instead_of_python(processes(tmp_path, ["1.0", "null", "5.5", "6.0"], "exec sleep 100"))
    rows = scaling.measure(study, Console(quiet=True))
    assert [row["kind"] for row in rows] == ["roofline", "rates", "rates", "rates", "mark"]
    assert [row["result"] for row in rows[:2]] == [{"matmul_flops_per_second": 1.0}, {"env_steps_per_second": 2.0}]
    assert rows[2]["axes"] == ["env.num_envs"]
    assert "env.num_envs=8" in rows[2]["overrides"]
    mark = rows[4]["result"]
    assert (mark["seconds"], mark["seconds_without_compilation"]) == (3.0, 1.0), "5 is reached by the third evaluation"
    assert (mark["env_steps"], mark["best_return"], len(mark["evaluations"])) == (3, 6.0, 4)
    started = (tmp_path / "started").read_text().splitlines()
    assert len(started) == 5
    assert all("--repeats 2 --seconds 0.05 --json" in line for line in started[:4])
    assert scaling.measure(study, Console(quiet=True)) == rows
    assert len((tmp_path / "started").read_text().splitlines()) == 5


def test_points_that_were_measured_otherwise_are_refused(tmp_path: Path, instead_of_python) -> None:
    """The base file, the mark, the timing: a point is known by what it varies, and was measured with all of them."""
    study = scaling.read(write_study(tmp_path, **SMALL), [])
    study.directory.mkdir()
    instead_of_python(processes(tmp_path, ["6.0"], "exec sleep 100"))
    rows = scaling.measure(study, Console(quiet=True))
    journal = study.directory / "points.jsonl"

    def refused(line: str, *overrides: str) -> None:
        with pytest.raises(ConfigError, match=f"^{line}, but what was measured in .* choose another dir"):
            scaling.measure(scaling.read(tmp_path / "study.yaml", overrides), Console(quiet=True))

    refused(r"repeats: 3", "repeats=3")
    refused(r"mark: 7\.0", "scales.cpu.mark=7")
    whole = journal.read_text()
    lines = [json.loads(line) for line in whole.splitlines()]
    journal.write_text("".join(json.dumps(row | {"asked": None}) + "\n" for row in lines))  # of an earlier release
    refused(r"mark: 7\.0", "scales.cpu.mark=7")
    assert scaling.measure(study, Console(quiet=True))[4]["result"] == rows[4]["result"]
    journal.write_text(whole)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"algorithm": {"gamma": 0.125}}))
    refused(r"algorithm\.gamma: 0\.125")
    assert len((tmp_path / "started").read_text().splitlines()) == 5, "nothing is measured before that is known"


def test_a_run_that_ends_below_the_mark_has_no_time(tmp_path: Path, instead_of_python) -> None:
    study = scaling.read(write_study(tmp_path, **SMALL), [])
    study.directory.mkdir()
    instead_of_python(processes(tmp_path, ["1.0", "4.9"], "exit 0"))
    mark = scaling.measure(study, Console(quiet=True))[4]["result"]
    assert (mark["seconds"], mark["seconds_without_compilation"]) == (None, None)
    assert "env_steps" not in mark


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("echo a trace >&2; echo 'error: full' >&2; exit 1", r"bench roofline .* ended with 1: error: full"),
        ("exit 3", r"bench roofline .* ended with 3: no message"),
        ('case "$*" in *bench*) echo 1;; *) exit 2;; esac', r"sacbrax\.train .* ended with 2: no message"),
    ],
)
def test_a_process_that_fails_is_an_error(tmp_path: Path, instead_of_python, script: str, line: str) -> None:
    study = scaling.read(write_study(tmp_path, **SMALL), [])
    study.directory.mkdir()
    instead_of_python(script)
    with pytest.raises(RunError, match=line):
        scaling.measure(study, Console(quiet=True))


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    study = scaling.read(write_study(tmp_path, **SMALL), [])
    study.directory.mkdir()
    (study.directory / "points.jsonl").write_text('{"kind": "rates"}\n')
    with pytest.raises(ConfigError, match=r"^dir: .*points\.jsonl is no journal of a study"):
        scaling.measure(study, Console(quiet=True))


@pytest.mark.slow
def test_a_small_study_for_real(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the swimmer, whose processes need no test module; the second start measures nothing."""
    path = write_study(tmp_path, **SMALL | {"mark": -1e9, "mark_updates": 40})
    overrides = ["scales.cpu.fixed={env.name: swimmer, eval.every_env_steps: 80}"]
    assert door.main([str(path), "--quiet", "--json", *overrides]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["kind"] for row in rows] == ["roofline", "rates", "rates", "rates", "mark"]
    assert rows[1]["result"]["compile_seconds"] > 0
    assert 0 < rows[4]["result"]["seconds_without_compilation"] < rows[4]["result"]["seconds"]
    before = (tmp_path / "out" / "points.jsonl").read_text()
    assert door.main([str(path), "--quiet", "--json", *overrides]) == 0
    assert json.loads(capsys.readouterr().out) == rows
    assert (tmp_path / "out" / "points.jsonl").read_text() == before
