"""The plan for a GPU: what is read from XLA's texts, and, slow, the numbers that a configuration has reached."""

import json
from pathlib import Path
from typing import Any

import pytest

from sacbrax.bench import cost, gpu_plan, gpu_program, gpu_tables, hlo
from sacbrax.bench.__main__ import main

PROGRAM = """HloModule jit_advance

FileNames
1 "/here/sacbrax/training/trainer.py"
2 "/here/sacbrax/xla/random.py"
3 "/there/flax/linen/linear.py"
4 "/here/sacbrax/agents/actor_critic.py"

FunctionNames
1 "Trainer.advance"
2 "normal"
3 "Dense.__call__"
4 "ActorCritic.act"

FileLocations
1 {file_name_id=1 function_name_id=1 line=1 end_line=1 column=1 end_column=2}
2 {file_name_id=2 function_name_id=2 line=1 end_line=1 column=1 end_column=2}
3 {file_name_id=3 function_name_id=3 line=1 end_line=1 column=1 end_column=2}
4 {file_name_id=4 function_name_id=4 line=1 end_line=1 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=4 parent_frame_id=2}
3 {file_location_id=2 parent_frame_id=3}
4 {file_location_id=3 parent_frame_id=3}

%inner (p: f32[]) -> f32[] {
  %draw = f32[] fusion(%p), kind=kLoop, metadata={op_name="x" stack_frame_id=3}
}

%body (p: f32[]) -> f32[] {
  %p = f32[] parameter(0)
  %layer = f32[] fusion(%p), kind=kLoop, metadata={op_name="y" stack_frame_id=4}
  %sum = f32[] fusion(%p), kind=kLoop, metadata={op_name="z" stack_frame_id=1}
  %copy = f32[] copy(%sum)
  ROOT %loop = f32[] while(%sum), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"4"}}
}

%other (p: f32[]) -> f32[] {
  ROOT %one = f32[] fusion(%p), kind=kLoop, metadata={op_name="o" stack_frame_id=1}
}

ENTRY %main (p: f32[]) -> f32[] {
  %p = f32[] parameter(0)
  %first = f32[] while(%p), condition=%c, body=%other
  ROOT %second = f32[] while(%first), condition=%c, body=%body
}
"""
THUNKS = """001: kCustomKernel  [source | next=004 (3)] loop_fusion
004: kWhile         [prev=003 (1) | next=000 (1)]
condition:
    005: kCustomKernel [source | sink] wrapped_compare
  body:
    000: kCommandBuffer [source       | next=024 (1)]
        006: kCustomKernel [source        | next=007 (1)] loop_add_fusion_10
        007: kWhile         [source        | next=010 (1)]
          condition:
            008: kCustomKernel [source | sink] compare
          body:
            009: kCustomKernel [source | sink] add
    024: kWhile         [prev=000 (1) | next=000 (1)]
      condition:
        025: kCustomKernel [source | sink] wrapped_compare
      body:
        026: kCommandBuffer [source       | next=024 (1)]
            027: kCopy [source       | next=024 (1)]
030: kCopy          [prev=002 (1) | next=004 (1)] kCopy
"""


def test_kernels_are_counted_by_what_they_are_for() -> None:
    assert hlo.kernels_per_iteration(PROGRAM) == 7
    parts = gpu_program.kernels_by_part(PROGRAM)
    assert parts == {"draws": 4, "acting": 1, "loop": 1, gpu_program.UNKNOWN: 1}
    assert next(iter(parts)) == "draws"


COLLECTIVES = """HloModule jit_advance

ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %while = f32[8]{0} while(%p), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
}

%inner (q: f32[8]) -> f32[8] {
  %q = f32[8]{0} parameter(0)
  %all-reduce-start.1 = (f32[5]{0}, bf16[2,3]{1,0}) all-reduce-start(%q, %q), channel_id=1, to_apply=%add
  ROOT %all-reduce-done.1 = f32[8]{0} all-reduce-done(%all-reduce-start.1)
}

%body (q: f32[8]) -> f32[8] {
  %q = f32[8]{0} parameter(0)
  %while.2 = f32[8]{0} while(%q), condition=%cond, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
  %all-reduce.3 = s32[]{:T(128)} all-reduce(%q), channel_id=2, to_apply=%add
  ROOT %all-gather-start.1 = (pred[2]{0}, pred[16]{0}) all-gather-start(%q), channel_id=3, dimensions={0}
}
"""


def test_what_devices_tell_each_other() -> None:
    assert gpu_program.collectives(COLLECTIVES) == {
        "all-gather": {"messages": 1, "bytes": 16},
        "all-reduce": {"messages": 4, "bytes": 3 * (20 + 12) + 4},
    }
    assert gpu_program.collectives(PROGRAM) == {}


def test_loops_in_a_graph_do_not_meet_the_host() -> None:
    assert gpu_program.graphs_and_loops(THUNKS) == {"graphs": 2, "host_loops": 2, "outside_graphs": 4}
    one = "000: kCommandBuffer [source]\n" + "".join(f"    {line}\n" for line in THUNKS.splitlines())
    assert gpu_program.graphs_and_loops(one) == {"graphs": 1, "host_loops": 0, "outside_graphs": 0}


def test_registers_and_spills_of_all_kernels() -> None:
    report = (
        "ptxas info : Function properties for a\n    0 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads\n"
        "ptxas info : Used 93 registers, used 0 barriers\nptxas info : Used 12 registers, 380 bytes cmem[0]\n"
    )
    assert gpu_program.registers_and_spills(report) == (93, 8)
    assert gpu_program.registers_and_spills("") == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["train.sed=1"], 2, "train.sed: unknown key"),
        (["nofile.yaml"], 2, "nofile.yaml: cannot read"),
        (["--target", "abacus"], 2, "argument --target: unknown 'abacus'; choose from h100, h200, t4"),
        ([], 1, "gpu-plan: JAX's plugin for CUDA cannot be installed: no such wheel"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(
    arguments: list[str],
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def environment() -> str:
        raise RuntimeError("no such wheel")

    monkeypatch.setattr(gpu_plan, "environment", environment)
    assert main(["gpu-plan", *arguments]) == status
    assert capsys.readouterr().err.startswith(f"error: {line}")


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command says; the test is skipped where the plugin cannot be had."""
    status = main(["gpu-plan", "--json", *arguments])
    out, err = capsys.readouterr()
    if "cannot be installed" in err:
        pytest.skip(err.strip())
    assert status == 0, err
    return json.loads(out)


def planned(configuration: str, program: str) -> Any:
    """What docs/benchmarks.md says beside what was measured."""
    return json.loads(gpu_tables.PLANNED.read_text(encoding="utf-8"))["programs"][configuration][program]


def told(row: dict[str, Any]) -> dict[str, int]:
    return {name: row[name] for name in ("kernels", "graphs", "host_loops")}


@pytest.mark.slow
def test_the_shipped_configuration_keeps_its_few_kernels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = plan(capsys, "swimmer", "--further", "--keep", str(tmp_path))
    programs = result["programs"]
    for name, most in (("advance", 126), ("prefill", 44), ("evaluate", 32)):
        row = programs[name]
        assert sum(row["kernels_by_part"].values()) == row["kernels"] <= most, name
        assert row["spilled_bytes"] <= 40
        assert 0 < row["registers"] <= 128
        assert row["graphs"] > 0
        assert (tmp_path / name / "program.txt").exists()
    parts = programs["advance"]["kernels_by_part"]
    assert {"physics", "acting", "replay", "losses", "Adam", "draws"} <= set(parts)
    assert result["kernels_per_further_update"] <= 72
    assert round(result["kernels_per_further_update"]) == planned("swimmer", "further")
    assert told(programs["advance"]) == planned("swimmer", "advance")


@pytest.mark.slow
def test_as_one_graph_no_loop_meets_the_host(capsys: pytest.CaptureFixture[str]) -> None:
    programs = plan(capsys, "swimmer", "run.gpu_graph=true")["programs"]
    for name, row in programs.items():
        assert (row["graphs"], row["host_loops"], row["outside_graphs"]) == (1, 0, 0), name
    assert told(programs["advance"]) == planned("swimmer_graph", "advance")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swimmer_gpu", "swimmer_gpu_seeds"])
def test_the_configurations_for_a_gpu_are_planned(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = plan(capsys, name, "--programs", "advance")["programs"]["advance"]
    assert told(row) == planned(name, "advance")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "overrides"), [("halfcheetah", ()), ("halfcheetah_kernel", ("run.gpu_kernel=true",))])
def test_physics_as_one_kernel(name: str, overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    row = plan(capsys, "tasks/halfcheetah_v5", *overrides, "--programs", "advance")["programs"]["advance"]
    assert told(row) == planned(name, "advance")
    assert (row["kernels_by_part"]["physics"] <= 2) == bool(overrides)  # the kernel, and what puts its array together
    assert row["spilled_bytes"] < 2_000


@pytest.mark.slow
def test_eight_gpus_send_the_gradients_and_four_short_messages(capsys: pytest.CaptureFixture[str]) -> None:
    result = plan(capsys, "swimmer", "--devices", "8", "--programs", "advance")
    row = result["programs"]["advance"]["collectives"]["all-reduce"]
    gradients = 4 * (15_373 + 1)  # numbers of all networks and the temperature, and whether the minibatch was sound
    assert row["messages"] == 1 + cost.SHORT_SUMS
    assert gradients < row["bytes"] < gradients + 200
