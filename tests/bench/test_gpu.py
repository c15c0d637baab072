"""The one command for a GPU: parts that fail, are late or are left over; what is kept; the tables that come of it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run

from sacbrax.bench import gpu, gpu_parts, gpu_tables, mark, physics
from sacbrax.bench.__main__ import main
from sacbrax.bench.gpu_parts import Part

ROOT = Path(__file__).parents[2]
# Stands for Python: the second word is what the part asks for, and every call leaves a line.
SCRIPT = """echo "$2" >> {calls}
case "$2" in
  good) echo '{{"value": 1, "machine": {{"platform": "gpu"}}}}';;
  bad) echo 'Traceback' >&2; echo 'RuntimeError: no such kernel' >&2; exit 3;;
  text) echo hello;;
  slow) sleep 20;;
  cpu) echo '{{"machine": {{"platform": "cpu"}}}}';;
  pytest) echo 'FAILED tests/a.py::test_b - no'; echo '1 failed, 4 passed, 2 skipped in 3.21s'; exit 1;;
esac"""


@pytest.fixture
def parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead_of_python: Callable[[str], None]
) -> Callable[..., Path]:
    """parts(("name", "word", limit), ...) -> these are all parts there are; the file in which their calls are."""
    calls = tmp_path / "calls"
    instead_of_python(SCRIPT.format(calls=calls))

    def replace(*wanted: tuple[str, str, int]) -> Path:
        monkeypatch.setattr(gpu, "PARTS", [Part(name, limit, (word,), (word,)) for name, word, limit in wanted])
        return calls

    return replace


def found(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "gpu.json").read_text())["parts"]


def test_a_part_that_fails_does_not_end_the_rest_and_a_second_call_goes_on(
    tmp_path: Path, parts: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    calls = parts(("a", "good", 10), ("b", "bad", 10), ("c", "text", 10), ("d", "pytest", 10))
    assert main(["gpu", "--out", out, "--parts", "a", "b"]) == 0
    assert set(found(tmp_path / "out")) == {"a", "b"}
    assert main(["gpu", "--out", out]) == 0
    assert calls.read_text().split() == ["good", "bad", "text", "pytest"]
    records = found(tmp_path / "out")
    assert records["a"]["result"]["value"] == 1
    assert records["b"]["error"] == "RuntimeError: no such kernel"
    assert records["c"]["error"] == "what it printed is no JSON"
    counts = {"failed": 1, "passed": 4, "skipped": 2, "failures": ["tests/a.py::test_b"]}
    assert records["d"]["result"] == counts
    assert {"date", "commit", "driver", "seconds", "command", "small"} <= set(records["a"])
    assert main(["gpu", "--out", out, "--again", "--parts", "b"]) == 0
    assert calls.read_text().split()[4:] == ["bad"]


def test_a_late_part_is_ended_and_one_for_which_no_time_is_left_is_not_begun(
    tmp_path: Path, parts: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    calls = parts(("late", "slow", 1), ("a", "good", 5), ("long", "good", 1000), ("cut", "slow", 4))
    assert main(["gpu", "--out", str(out), "--budget", "4"]) == 0
    records = found(out)
    assert records["late"]["error"] == "no end after 1 s"
    assert set(records) == {"late", "a"}  # what the budget cut short is for the next call, as what did not begin
    assert calls.read_text().split() == ["slow", "good", "slow"]
    assert "long: left for a further call" in capfd.readouterr().err


def test_a_part_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {'import time; time.sleep(30)'!r}, 'mine'])"
    with (tmp_path / "log").open("a") as log:
        late = gpu.run(Part("a", 2, (), ()), [sys.executable, "-c", child, str(tmp_path)], 1.5, log)
    assert late["late"]
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "time.sleep(30)" not in left


def test_a_cpu_has_no_place_among_gpus(
    tmp_path: Path, parts: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    parts(("a", "cpu", 10))
    assert main(["gpu", "--out", str(tmp_path / "out")]) == 1
    assert "JAX finds no GPU here" in capfd.readouterr().err
    assert not (tmp_path / "out" / "gpu.json").exists()
    assert main(["gpu", "--out", str(tmp_path / "out"), "--small"]) == 0
    assert main(["gpu", "--out", str(tmp_path / "out")]) == 2
    assert "holds a trial (--small)" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "one of the arguments --out --from is required"),
        (["--out", "x", "--parts", "y"], "--parts: y: unknown; choose from smoke, smoke_graph, smoke_kernel, tests"),
        (["--out", "x", "--into", "y"], "--into: needs --from"),
        (["--from", "{tmp}", "--into", "{tmp}/page.md"], "--into: {tmp}/page.md: No such file"),
        (["--from", "{tmp}/broken"], "{tmp}/broken/gpu.json: not what this command writes"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "gpu.json").write_text("[]")
    assert main(["gpu", *(word.format(tmp=tmp_path) for word in arguments)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {line.format(tmp=tmp_path)}")


def record(**more: Any) -> dict[str, Any]:
    return {"date": "2030-01-02T03:04:05", "commit": "abc", "driver": "A GPU, 1.0", "command": "python -m x",
            "small": False, "seconds": 1.0} | more  # fmt: skip


def test_the_tables_say_what_was_measured_and_what_was_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spread = {"median": 9000.0, "lowest": 8000.0, "highest": 9500.0}
    run = {"start": "cold", "compile_seconds": 7.0, "seconds_to_mark": 11.5, "seeds": 1, "seeds_at_mark": 1,
           "seconds": 20.0}  # fmt: skip
    never = run | {"start": "warm", "seconds_to_mark": None, "compile_seconds": 2.0}
    parts = {
        "update_64": record(result={"updates_per_second": 9000.0, "updates_per_second_spread": spread}),
        "swimmer": record(result={"runs": [run, never]}),
        "physics_mjx": record(error="no end after 240 s | late"),
    }
    (tmp_path / "gpu.json").write_text(json.dumps({"parts": parts}))
    page = tmp_path / "page.md"
    page.write_text("# A\n\n## GPU\n\noutdated\n\n## Next\n\nrest\n")
    assert main(["gpu", "--from", str(tmp_path), "--into", str(page)]) == 0
    text = page.read_text()
    assert "A GPU, 1.0, commit abc, 2030-01-02\n" in text
    assert "| 72 kernels | 10,000 updates/s | 9,000 updates/s (8,000 to 9,500) |" in text
    assert "cold: 11.5 s, 4.5 after compilation; whole run 13.0 s after it; warm: not reached; whole run 18.0 s" in text
    assert "failed: no end after 240 s / late |" in text
    assert text.count("| not measured |") == len(gpu_tables.LINES) - 3
    assert text.startswith("# A\n\n## GPU\n")
    assert text.endswith("\n\n## Next\n\nrest\n")
    assert "outdated" not in text


def test_what_a_run_took_to_a_mark(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")  # 0, 10, 20, 30, 40, an evaluation each 100 env steps and 2 s
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"compile_seconds": 1.5}))
    reached = mark.measured(run, 25.0)
    assert reached == {
        "compile_seconds": 1.5, "seconds_to_mark": 6.0, "env_steps_to_mark": 300.0, "seeds": 1, "seeds_at_mark": 1,
        "seconds": 8.0, "best_return": 40.0,
    }  # fmt: skip
    never = mark.measured(run, 45.0)
    assert (never["seconds_to_mark"], never["env_steps_to_mark"], never["seeds_at_mark"]) == (None, None, 0)


def test_a_run_that_fails_is_one_line(
    instead_of_python: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    instead_of_python("echo Traceback >&2; echo 'error: no device' >&2; exit 2")
    assert main(["mark", "swimmer"]) == 1
    assert capfd.readouterr().err == "error: train swimmer: error: no device\n"


def test_every_part_has_a_row_and_the_page_has_every_row() -> None:
    assert [line.part for line in gpu_tables.LINES] == [part.name for part in gpu_parts.PARTS]
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    section = page[page.index(gpu_tables.HEADING) :]
    assert all(f"| {line.what} |" in section for line in gpu_tables.LINES)
    for path in gpu_parts.TESTS:
        assert (ROOT / path).is_file()


def test_every_part_names_a_task_that_there_is() -> None:
    """In its full form too, which no CPU runs."""
    words = [word for part in gpu_parts.PARTS for word in part.words]
    named = [words[i + 1] for i, word in enumerate(words) if word == "--task"]
    assert named
    assert set(named) <= set(physics.TASKS)


@pytest.mark.slow
def test_all_parts_run_on_a_cpu_and_fill_every_row(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "--out", str(tmp_path / "out"), "--small", "--budget", "6000"]) == 0
    records = found(tmp_path / "out")
    assert {name: record["error"] for name, record in records.items() if "error" in record} == {}
    assert records["smoke"]["result"]["physics_difference"] == {"one_step": 0.0, "all_steps": 0.0}
    assert records["smoke"]["result"]["digest"] == records["smoke_graph"]["result"]["digest"]
    capfd.readouterr()
    assert main(["gpu", "--from", str(tmp_path / "out")]) == 0
    section = capfd.readouterr().out
    assert gpu_tables.MISSING not in section
    assert "these numbers mean nothing" in section
