"""Sweeps that train: side by side equals alone, one compilation per shape, resumption, failures, Optuna and Ray."""

import csv
import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from test_sweep_spec import write
from tiny_config import make_tiny

import sacbrax
from sacbrax import compare, train
from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.core.files import lock
from sacbrax.run import loop
from sacbrax.sweep import __main__ as door
from sacbrax.sweep.journal import Journal
from sacbrax.sweep.trials import NoMetricError, Trials, outcomes, signature
from sacbrax.training.population import Population

BANDIT = {"env.name": "probes:Bandit", "algorithm.n_step": 1}


def test_what_shares_a_program() -> None:
    base = signature(make_tiny())
    for same in (
        "algorithm.learning_rate=0.5",
        "algorithm.gamma=0.5",
        "algorithm.tau=0.5",
        "algorithm.reward_scale=3",
        "algorithm.target_entropy=-1",
        "algorithm.initial_temperature=2",
        "train.seed=4",
        "run.dir=x",
    ):
        assert signature(make_tiny(same)) == base, same
    others = {
        signature(make_tiny(other))
        for other in (
            "train.batch_size=4",
            "network.hidden_sizes=[4]",
            "policy.regularization=0.1",  # adds a term
            "algorithm.reward_centering=0.1",
            "algorithm.actor_learning_rate=0.1",
            "algorithm.learning_rate={schedule: linear, values: [1, 2], boundaries: [10]}",
            "algorithm.learning_rate={schedule: linear, values: [1, 2], boundaries: [20]}",
        )
    } - {base}
    assert len(others) == 7


def test_a_trial_among_others_equals_the_same_alone(tmp_path: Path) -> None:
    """Relative tolerance 1e-4, as for seeds: batched products sum in another order."""
    common = ("algorithm.reward_centering=0.01", "train.num_seeds=2")
    configs = [
        make_tiny(*common, "algorithm.gamma=0.5", "algorithm.learning_rate=1e-3", "algorithm.initial_temperature=0.3"),
        make_tiny(*common, "algorithm.tau=0.5", "algorithm.reward_scale=4", "train.seed=9", "policy.regularization=0"),
        make_tiny(*common, "algorithm.target_entropy=-7", "algorithm.initial_temperature=3"),
    ]
    population = Trials(configs)
    assert population.seeds == [0, 1, 9, 10, 0, 1]
    together = after_training(population)
    alone: Population | None = None
    for t, config in enumerate(configs):
        alone = Population(config, like=alone)
        state = after_training(alone)
        for a, b in zip(jax.tree.leaves(together.agent), jax.tree.leaves(state.agent), strict=True):
            np.testing.assert_allclose(a[2 * t : 2 * t + 2], b, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(together.replay.rows[2 * t], state.replay.rows[0], rtol=1e-4, atol=1e-5)


def after_training(population: Population) -> Any:
    programs = population.programs
    state = programs.init(population.train_keys, population.hyper)
    state = programs.prefill(state, population.hyper)
    return programs.advance(state, programs.zero_sums(state), population.hyper, np.int32(10))[0]


def test_outcomes_are_split_by_trial() -> None:
    rows = [{f"seed_{i}/x": 10.0 * e + i for i in range(4)} for e in range(2)]
    assert outcomes(rows, [], 2, 2, "x") == [[[0, 1], [10, 11]], [[2, 3], [12, 13]]]
    assert outcomes(rows, [3], 2, 2, "x")[1] is None
    assert outcomes([{"x": 5.0}], [], 1, 1, "x") == [[[5.0]]]
    assert outcomes([{}, *rows], [], 1, 4, "x")[0] == [[None] * 4, [0, 1, 2, 3], [10, 11, 12, 13]]
    with pytest.raises(NoMetricError, match="metric: the runs have no 'y'"):
        outcomes(rows, [], 2, 2, "y")


def trials(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "sweep" / "trials.jsonl").read_text().splitlines()]


def test_a_sweep_from_file_to_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four trials, two at a time; then the same again, with one more, and with one that was lost."""
    calls: list[int] = []
    original = loop.run

    def counted(config: Any, **options: Any) -> Any:
        calls.extend(population.size for population in [options.get("population")] if population is not None)
        return original(config, **options)

    monkeypatch.setattr(loop, "run", counted)
    vary = {"algorithm.learning_rate": {"log_uniform": ["1e-6", "1e-1"]}}
    keys = {"search": "random", "trials": 4, "fixed": BANDIT, "vary": vary, "vmap": True, "trials_per_program": 2}
    path = str(write(tmp_path, **keys))
    assert door.main([path, "--quiet"]) == 0
    assert calls == [2, 2]
    out = capsys.readouterr().out
    assert "learning_rate" in out
    rows = trials(tmp_path)
    assert [row["status"] for row in rows] == ["done"] * 4
    assert len({row["score"] for row in rows}) == 4
    for row in rows:
        metrics = [json.loads(line) for line in (Path(row["run"]) / "metrics.jsonl").read_text().splitlines()]
        assert row["score"] == metrics[-1][f"seed_{row['seed_index']}/eval/return_mean"] == row["final"]
        assert row["best"] == max(line[f"seed_{row['seed_index']}/eval/return_mean"] for line in metrics)
        assert sacbrax.load_policy(row["run"], row["seed_index"]).header["seed"] == 0
        assert not list((Path(row["run"]) / "checkpoints").glob("0*")), "full checkpoints are gone"
    told = json.loads((Path(rows[2]["run"]) / "trials.json").read_text())
    assert told == [row["parameters"] for row in rows[2:]]
    for command, arguments in ((compare, []), (train, ["env.name=probes:Bandit", "--resume"])):
        assert command.main([*arguments, rows[2]["run"]]) == 2, "they are no seeds of one configuration"
        assert "trials of a sweep with settings of their own" in capsys.readouterr().err
    with (tmp_path / "sweep" / "results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(line["trial"]) for line in table] == sorted(range(4), key=lambda i: -rows[i]["score"])
    assert float(table[0]["algorithm.learning_rate"]) == rows[int(table[0]["trial"])]["parameters"][next(iter(vary))]
    with Image.open(tmp_path / "sweep" / "results.png") as image:
        assert np.asarray(image.convert("L")).std() > 5

    assert door.main([path, "--quiet", "--json"]) == 0
    assert calls == [2, 2], "finished trials are not rerun"
    assert json.loads(capsys.readouterr().out) == sorted(rows, key=lambda row: -row["score"])
    assert door.main([path, "--quiet", "--json", "score=best"]) == 0
    assert [row["score"] for row in json.loads(capsys.readouterr().out)] == sorted(r["best"] for r in rows)[::-1]
    for override in ("direction=minimize", "metric=train/critic_loss"):
        assert door.main([path, override]) == 2
        assert f"error: {override.partition('=')[0]}: " in capsys.readouterr().err
    assert door.main([path, "--quiet", "--json"]) == 0, "and back"
    capsys.readouterr()
    lines = (tmp_path / "sweep" / "trials.jsonl").read_text().splitlines()
    lost = {key: rows[3][key] for key in ("trial", "parameters")} | {"status": "planned"}
    (tmp_path / "sweep" / "trials.jsonl").write_text("\n".join([*lines[:3], json.dumps(lost)]) + "\n")
    assert door.main([path, "--quiet", "trials=5"]) == 0
    assert calls == [2, 2, 2]
    assert trials(tmp_path)[3]["final"] == pytest.approx(rows[3]["final"], rel=1e-3, abs=1e-4)
    assert door.main([path, "algorithm.gamma=0.1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: algorithm.gamma: 0.1, but the sweep in")
    assert error.count("\n") == 1


@pytest.mark.parametrize("vmap", ["true", pytest.param("false", marks=pytest.mark.slow)])
def test_a_trial_that_fails_stops_no_other(tmp_path: Path, vmap: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A reward of 1e30 squared overflows: no update is ever finite. When no trial ends well, neither does the sweep."""
    fixed = BANDIT | {"train.max_bad_updates": 5}
    path = str(write(tmp_path, fixed=fixed, vary={"algorithm.reward_scale": [1e30, 1.0]}))
    assert door.main([path, "--quiet", f"vmap={vmap}"]) == 0
    rows = trials(tmp_path)
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert rows[0]["error"]
    assert "failed" in capsys.readouterr().out
    if vmap == "false":
        (tmp_path / "all").mkdir()
        worst = {"algorithm.reward_scale": [1e30]}
        assert door.main([str(write(tmp_path / "all", fixed=fixed, vary=worst)), "--quiet"]) == 1


def no_room(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_the_machine_is_at_fault_for_leaves_the_trial_to_be_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, a run that another process holds, a directory that cannot be used: one line; then all is well."""
    path = str(write(tmp_path, fixed=BANDIT, vary={"algorithm.gamma": [0.5, 0.9]}))
    runs = tmp_path / "sweep" / "runs"

    def stopped(status: int, line: str) -> None:
        assert door.main([path, "--quiet", "vmap=false"]) == status
        *_, error = capsys.readouterr().err.splitlines()  # a checkpoint that is not written is a warning before
        assert error.startswith("error: ")
        assert line in error
        assert {row["status"] for row in trials(tmp_path)} == {"planned"}

    with monkeypatch.context() as full:
        full.setattr(checkpoint_files, "_ask_for_room", no_room)
        stopped(1, "could not be written: No space left on device")
    with lock(runs / "trial_0000", "dir"):
        stopped(1, "trial_0000 is in use by another process")
    shutil.rmtree(runs)
    (runs / "trial_0000").mkdir(parents=True)
    (runs / "trial_0000" / "notes.txt").touch()
    stopped(2, "holds other files (notes.txt)")
    (runs / "trial_0000" / "notes.txt").unlink()
    with monkeypatch.context() as full:
        full.setattr(Journal, "finish", lambda self, rows: no_room())
        with pytest.raises(OSError, match="No space"):
            door.main([path, "--quiet", "vmap=false"])
    assert list(runs.glob("trial_0000/checkpoints/0*")), "not removed before the journal says what they came to"
    assert door.main([path, "--quiet", "vmap=false"]) == 0
    assert {row["status"] for row in trials(tmp_path)} == {"done"}
    with monkeypatch.context() as full:
        full.setattr("sacbrax.core.files.os.fsync", no_room)
        assert door.main([path, "--quiet"]) == 1
    assert "error: dir: cannot write" in capsys.readouterr().err


class FakeRay:
    """Runs what it is given at once, in this process, but loses the first worker."""

    class exceptions:
        class RayError(Exception):
            cause: Any = None

    def __init__(self, error: Exception) -> None:
        self.error = error

    def remote(self, **_: Any) -> Any:
        return lambda function: SimpleNamespace(remote=lambda *arguments: Handle(function, arguments))

    def wait(self, handles: list[Any], num_returns: int) -> Any:
        return handles[:num_returns], handles[num_returns:]

    def get(self, handle: Any) -> Any:
        if handle.arguments[1][0]["trial"] == 0 and self.error is not None:
            raise self.error
        return handle.function(*handle.arguments)

    def init(self, **_: Any) -> None: ...

    def shutdown(self) -> None: ...

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def nodes(self) -> list[Any]:
        return [{"Resources": {"CPU": 2.0}}]


@dataclass(eq=False)
class Handle:
    function: Any
    arguments: Any


def test_a_lost_worker_leaves_its_trials_to_be_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, mistake = FakeRay.exceptions.RayError("a trace\nthe worker died"), FakeRay.exceptions.RayError("a trace")
    mistake.cause = NoMetricError("metric: the runs have no 'x'")
    path = str(write(tmp_path, fixed=BANDIT, vary={"algorithm.gamma": [0.5, 0.9]}, executor="ray", vmap=False))
    for error, status, line, left in (
        (mistake, 2, "metric: the runs have no 'x'", ["planned", "planned"]),
        (lost, 1, "trial_0000 did not come to its end: the worker died; the same command goes on", ["planned", "done"]),
        (None, 0, "", ["done", "done"]),
    ):
        monkeypatch.setitem(sys.modules, "ray", FakeRay(error))
        assert door.main([path, "--quiet"]) == status
        assert line in capsys.readouterr().err
        assert [row["status"] for row in trials(tmp_path)] == left


@pytest.mark.slow
def test_static_values_are_compiled_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compilations: list[int] = []
    original = loop._Run._compile

    def counted(self: Any, fresh: bool) -> Any:
        compilations.append(len(self.population.compiled))
        return original(self, fresh)

    monkeypatch.setattr(loop._Run, "_compile", counted)
    vary = {"algorithm.gamma": [0.5, 0.9], "network.hidden_sizes": [[4], [8]]}
    assert door.main([str(write(tmp_path, fixed=BANDIT, vary=vary)), "--quiet", "vmap=false"]) == 0
    assert compilations == [0, 5, 0, 5], "the second trial of a shape finds all five programs compiled"
    assert [row["status"] for row in trials(tmp_path)] == ["done"] * 4


@pytest.mark.parametrize(
    ("keys", "overrides", "line"),
    [
        ({}, ["dir=some.yaml"], "dir: cannot use"),
        ({"metric": "eval/nothing"}, [], "metric: the runs have no 'eval/nothing'"),
        ({}, ["env.name=walker"], "env.name: unknown 'walker'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    tmp_path: Path, keys: Any, overrides: list[str], line: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, vary={"algorithm.gamma": [0.9]}, **keys)
    monkeypatch.chdir(tmp_path)
    assert door.main([str(path), "--quiet", *overrides]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("vmap", ["true", "false"])
def test_killed_in_the_middle_it_goes_on(tmp_path: Path, vmap: str) -> None:
    """SIGKILL once a run has written a checkpoint; the second start finishes and the results are those of one go."""
    fixed = BANDIT | {
        "train.total_env_steps": 40_016,
        "eval.every_env_steps": 4_000,
        "checkpoint.every_env_steps": 4_000,
    }
    keys = {"fixed": fixed, "vary": {"algorithm.gamma": [0.5, 0.9]}, "vmap": vmap}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    assert door.main([str(write(whole, **keys)), "--quiet"]) == 0
    here = Path(__file__).parents[1] / "support"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    command = [sys.executable, "-m", "sacbrax.sweep", str(write(broken, **keys)), "--quiet"]
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 300
    while len(list((broken / "sweep").glob("runs/*/checkpoints/0*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any(row["status"] == "planned" for row in trials(broken))
    assert subprocess.run(command, env=environment, timeout=300).returncode == 0
    for a, b in zip(trials(whole), trials(broken), strict=True):
        assert a["status"] == b["status"] == "done"
        assert a["by_seed"] == b["by_seed"], "bit for bit"


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is an extra")
def test_optuna_asks_in_batches_and_goes_on(tmp_path: Path) -> None:
    vary = {"algorithm.gamma": {"uniform": [0.5, 0.99]}, "algorithm.reward_scale": [1, 2]}
    path = str(write(tmp_path, search="optuna", trials=3, batch=2, fixed=BANDIT, vary=vary))
    assert door.main([path, "--quiet"]) == 0
    rows = trials(tmp_path)
    assert [row["status"] for row in rows] == ["done"] * 3
    assert all(0.5 <= row["parameters"]["algorithm.gamma"] <= 0.99 for row in rows)
    assert door.main([path, "--quiet", "trials=4"]) == 0
    more = trials(tmp_path)
    assert more[:3] == rows
    assert more[3]["status"] == "done"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is an extra")
def test_ray_runs_programs_in_workers(tmp_path: Path) -> None:
    """A real local cluster, in a process of its own; the same numbers as here."""
    local, remote = tmp_path / "local", tmp_path / "remote"
    local.mkdir()
    remote.mkdir()
    keys = {"fixed": BANDIT, "vary": {"algorithm.gamma": [0.5, 0.9]}, "vmap": False}
    assert door.main([str(write(local, **keys)), "--quiet"]) == 0
    here = Path(__file__).parents[1] / "support"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    command = [sys.executable, "-m", "sacbrax.sweep", str(write(remote, **keys)), "--quiet"]
    command += ["executor=ray", "cpus_per_program=1"]
    finished = subprocess.run(command, env=environment, timeout=500, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    for a, b in zip(trials(local), trials(remote), strict=True):
        assert a["status"] == b["status"] == "done"
        assert a["by_seed"] == pytest.approx(b["by_seed"], rel=1e-5)


def test_a_sweep_without_a_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([]) == 2
    assert capsys.readouterr().err.startswith("error: SWEEP.yaml is needed; see ")
