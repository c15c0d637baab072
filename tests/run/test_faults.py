"""Faults that really happen, to a process of its own: kill -9, signals, a full disk, a second process, bad numbers."""

import errno
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from logs import learning
from resumable import YAML, arrays, assert_same_run, configure, environment, newest, start, train

from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError
from sacbrax.core.signals import NUMBERS
from sacbrax.run.directory import RunDirectory
from sacbrax.sinks.console import Reporter
from sacbrax.sinks.files import MetricsFiles

PATIENCE = 300.0  # seconds that a busy machine may take to get anywhere


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and standard error."""
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Whether `condition` came true before the process ended."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.001)
    return False


def assert_completes(process: subprocess.Popen[str]) -> None:
    status, errors = finish(process)
    assert status == 0, errors
    assert "Traceback" not in errors


def saved(directory: Path) -> list[str]:
    return checkpoint_files.names(directory / "checkpoints")


def kill_and_resume(tmp_path: Path, kills: int, total: int) -> dict[str, int]:
    """Kill one run `kills` times at random moments of three kinds, go on each time, and compare with a run that never
    stopped. Returns how many kills fell where."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    overrides = [f"train.total_env_steps={total}", "eval.every_env_steps=400", "checkpoint.every_env_steps=120"]
    train(whole, *overrides)
    draw, fell = random.Random(0), dict.fromkeys(("anywhere", "training", "writing"), 0)
    while sum(fell.values()) < kills:
        before, process = saved(killed), start(killed, *overrides)
        kind = ("writing", "training", "writing", "anywhere")[sum(fell.values()) % 4]
        if kind == "anywhere":
            time.sleep(draw.uniform(0.1, 6.0))
        else:
            assert wait_for(lambda seen=before: saved(killed) != seen, process), finish(process)
            time.sleep(draw.uniform(0.0, 0.2))
            if kind == "writing":
                assert wait_for(lambda: any((killed / "checkpoints").glob(".writing-*")), process), finish(process)
                time.sleep(draw.uniform(0.0, 0.02))
        assert process.poll() is None, "the run must be long enough for all kills"
        process.send_signal(signal.SIGKILL)
        assert finish(process)[0] == -signal.SIGKILL
        if kind == "writing" and not any((killed / "checkpoints").glob(".writing-*")):
            kind = "training"  # too late: the write had just ended
        fell[kind] += 1
    assert_completes(start(killed, *overrides))
    assert_same_run(whole, killed)
    assert not [path.name for path in (killed / "checkpoints").iterdir() if path.name.startswith(".")]
    return fell


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_run(tmp_path: Path) -> None:
    """Once, amid a checkpoint write."""
    kill_and_resume(tmp_path, kills=1, total=1240)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    """Twenty times kill -9, at least five of them amid a checkpoint write; the result is the same to the last bit."""
    fell = kill_and_resume(tmp_path, kills=20, total=16040)
    print(f"kills: {fell}")
    assert fell["writing"] >= 5


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_signal_saves_and_exits(tmp_path: Path, number: signal.Signals) -> None:
    """Amid an epoch; what follows is the run that was not interrupted."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    overrides = ["train.total_env_steps=40040", "eval.every_env_steps=20000", "checkpoint.every_env_steps=null"]
    process = start(cut, *overrides)
    assert wait_for(lambda: bool(saved(cut)), process), finish(process)
    begin = time.monotonic()
    process.send_signal(number)
    assert finish(process) == (128 + number, "")
    assert time.monotonic() - begin < 20.0  # about two seconds on a quiet machine
    assert len(saved(cut)) == 2
    assert int(arrays(cut)["state/iteration"]) % 5000 != 10
    assert json.loads((cut / "summary.json").read_text())["interrupted"]
    assert_completes(start(cut, *overrides))
    train(whole, *overrides)
    assert_same_run(whole, cut)


def test_signal_while_compiling_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cold"))
    directory = tmp_path / "run"
    process = start(directory, "network.hidden_sizes=[8,8,8,8]")
    assert wait_for((directory / "config.yaml").exists, process), finish(process)
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (143, "interrupted by SIGTERM before there was anything to save\n")
    assert not saved(directory)
    train(directory, "train.total_env_steps=120")  # nothing is in the way of beginning again


def hears_signals(process: subprocess.Popen[str]) -> bool:
    """Whether the command has got to its first line."""
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["start", "evaluation", "write"])
def test_a_signal_at_any_moment(tmp_path: Path, moment: str) -> None:
    """From the first line of the command to the middle of the training, amid long evaluations, amid a write: one
    status, at most one line, and a run that goes on from what was saved."""
    draw, fates = random.Random(0), dict.fromkeys(("unsaved", "saved"), 0)
    overrides = ["train.total_env_steps=400000040", "eval.every_env_steps=8000"]
    overrides += ["eval.episodes=200000"] if moment == "evaluation" else []
    for i in range(24 if moment == "start" else 8):
        directory, number = tmp_path / str(i), NUMBERS[0] if moment == "start" else NUMBERS[i % len(NUMBERS)]
        process = start(directory, *overrides)
        assert wait_for(lambda p=process: hears_signals(p), process), finish(process)
        if moment == "start":
            time.sleep(0.25 * i)
        else:
            assert wait_for(lambda d=directory: bool(saved(d)), process), finish(process)
            time.sleep(draw.uniform(0.0, 1.0))
        if moment == "write":
            writing = directory / "checkpoints"
            assert wait_for(lambda w=writing: any(w.glob(".writing-*")), process), finish(process)
        process.send_signal(number)
        begin = time.monotonic()
        status, errors = finish(process)
        assert time.monotonic() - begin < 60.0
        assert status == 128 + number, errors
        assert re.fullmatch(rf"(interrupted by {number.name}( before there was anything to save)?\n)?", errors)
        if errors:
            assert moment == "start"
            assert not saved(directory)
            fates["unsaved"] += 1
        else:
            assert arrays(directory)
            assert json.loads((directory / "summary.json").read_text())["interrupted"]
            fates["saved"] += 1
    print(f"{moment}: {fates}")


@pytest.mark.parametrize("terminal", [True, False])
def test_the_reporter_outlives_its_stream(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = {
        "env_steps": 1,
        "gradient_steps": 1,
        "wall_seconds": 1.0,
        "eval/return_mean": 0.0,
        "eval/return_std": 0.0,
    }
    metrics |= {"time/env_steps_per_second": 1.0, "time/gradient_steps_per_second": 1.0}

    class Full(io.StringIO):
        def isatty(self) -> bool:
            return terminal

        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    reporter = Reporter(100)
    reporter.say("a word")
    reporter.warn("another")
    reporter.progress(50, lambda: "1 GiB")
    reporter.evaluation(metrics)
    reporter.close()


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["head -1", "full"])
def test_a_broken_standard_error_does_not_end_the_training(tmp_path: Path, broken: str) -> None:
    target = "2>/dev/full" if broken == "full" else "2>&1 | head -1"
    config = tmp_path / "tiny.yaml"
    config.write_text(YAML)
    words = f"{sys.executable} -m sacbrax.train {config} run.dir={tmp_path / 'run'}; echo $? >{tmp_path / 'status'}"
    subprocess.run(["bash", "-c", f"({words}) {target}"], stdout=subprocess.DEVNULL, check=False, env=environment())
    assert (tmp_path / "status").read_text() == "0\n"
    assert int(arrays(tmp_path / "run")["state/iteration"]) * 4 == 840


def test_second_process_is_refused_and_the_lock_dies_with_the_first(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start(directory, "train.total_env_steps=4000040", "checkpoint.every_env_steps=null")
    assert wait_for(lambda: bool(saved(directory)), process), finish(process)
    with pytest.raises(RunError, match="in use by another process"):
        train(directory)
    status, errors = finish(start(directory))
    assert status == 1
    assert errors == f"error: {directory} is in use by another process\n"
    process.kill()
    finish(process)
    with RunDirectory.of(configure(directory)):
        pass


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("damage") / "run"
    train(directory, "train.total_env_steps=200")
    assert len(saved(directory)) == 2
    return directory


def damaged_copy(source: Path, target: Path, checkpoints: list[str], kind: str, file: str) -> Path:
    """A copy of a run in which one file of each given checkpoint is damaged."""
    shutil.copytree(source, target)
    for name in checkpoints:
        path = target / "checkpoints" / name / file
        if kind == "deleted":
            path.unlink()
        elif kind == "truncated":
            path.write_bytes(path.read_bytes()[:-1])
        else:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(bytes(content))
    return target


@pytest.mark.parametrize("kind", ["deleted", "truncated", "flipped"])
def test_damage_to_any_file_is_found(two_checkpoints: Path, tmp_path: Path, kind: str) -> None:
    name = saved(two_checkpoints)[-1]
    source = two_checkpoints / "checkpoints" / name
    files = [str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()]
    assert len(files) > 5
    for i, file in enumerate(files):
        if kind != "deleted" and not (source / file).stat().st_size:
            continue
        copy = damaged_copy(two_checkpoints, tmp_path / str(i), [name], kind, file)
        with pytest.raises(checkpoint_files.DamagedError, match=re.escape(file)):
            checkpoint_files.read(copy / "checkpoints" / name, lambda notes: pytest.fail("read further"))


def test_previous_checkpoint_is_used_with_one_warning(
    two_checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    previous, name = saved(two_checkpoints)
    copy = damaged_copy(two_checkpoints, tmp_path / "run", [name], "flipped", "arrays/_METADATA")
    train(copy, "train.total_env_steps=200")
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: ")
    assert warning.endswith(f"arrays/_METADATA has another checksum; going on from checkpoint {previous}")
    assert saved(copy) == [previous, name]
    assert (copy / "checkpoints" / f"{name}.damaged").is_dir()
    assert_same_run(two_checkpoints, copy)


def test_no_sound_checkpoint_is_an_error_and_changes_nothing(two_checkpoints: Path, tmp_path: Path) -> None:
    copy = damaged_copy(two_checkpoints, tmp_path / "run", saved(two_checkpoints), "truncated", "manifest.json")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    status, errors = finish(start(copy, "train.total_env_steps=400"))
    assert status == 1
    assert errors.startswith("error: no checkpoint is sound, nothing was changed; the newest: ")
    assert errors.count("\n") == 1
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def start_limited(limit: int, directory: Path, *overrides: str) -> subprocess.Popen[str]:
    """As a full disk does, writing a file beyond `limit` bytes fails; Python ignores the signal that comes with it."""
    process = start(directory, *overrides, "run.compilation_cache=false")  # which would be cut off as well
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    return process


@pytest.mark.slow
def test_disk_that_fills_up_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    """The replay grows until a checkpoint does not fit any more: training goes on, says so, and ends with an error."""
    directory = tmp_path / "run"
    overrides = ["replay.capacity=4000", "train.total_env_steps=2040", "eval.every_env_steps=400"]
    status, errors = finish(start_limited(170_000, directory, *overrides))
    assert status == 1
    assert "Traceback" not in errors
    assert "could not be written" in errors
    assert "training goes on" in errors
    assert errors.splitlines()[-1].startswith(
        "error: checkpoint 000000002040-000006 could not be written: File too large; "
    )
    assert learning(directory)[-1]["env_steps"] == 2040
    good = saved(directory)[-1]
    assert good < "000000002040"
    assert not list((directory / "checkpoints").glob(".writing-*"))
    assert_completes(start(directory, *overrides))  # there is room again
    train(tmp_path / "whole", *overrides)
    assert_same_run(tmp_path / "whole", directory)


def test_log_that_cannot_grow(tmp_path: Path) -> None:
    """What a full disk refuses is not lost: the files end with a whole line, and the rest comes with the next one."""
    rows = [{"env_steps": i, "eval/return_mean": 1 / (i + 1)} for i in range(60)]
    files, refused, limits = MetricsFiles(tmp_path), 0, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for row in rows[:50]:
            try:
                files.write(row)
            except OSError:
                refused += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 10 < refused < 50
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == rows[: len(lines)]
    assert (tmp_path / "progress.csv").read_text().endswith("\n")
    for row in rows[50:]:
        files.write(row)
    files.close()
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows
    assert (tmp_path / "progress.csv").read_text().splitlines()[1:] == [",".join(map(str, r.values())) for r in rows]


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_full_file_system(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        directory = disk / "run"
        overrides = ["replay.capacity=40000", "train.total_env_steps=8040", "eval.every_env_steps=400"]
        status, errors = finish(start(directory, *overrides))
        assert status == 1
        assert "Traceback" not in errors
        assert "No space left on device" in errors
        path = newest(directory)
        shutil.copytree(directory, tmp_path / "copy")
        assert arrays(tmp_path / "copy")["state/iteration"] * 4 == int(path.name.split("-")[0])
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("parent", ["/proc", "file"])
def test_directory_that_cannot_be_made(tmp_path: Path, parent: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^run\.dir: cannot write to"):
        train(tmp_path / parent / "run")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_directory_that_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o555)
    with pytest.raises(ConfigError, match=r"^run\.dir: cannot write to"):
        train(tmp_path / "run")


@pytest.mark.parametrize("algorithm", [pytest.param("sac_v1", marks=pytest.mark.slow), "sac_v2"])
def test_updates_without_a_finite_gradient_are_skipped_and_counted(tmp_path: Path, algorithm: str) -> None:
    """A reward too large to square spoils the minibatches that hold it, and nothing else."""
    overrides = [f"algorithm.name={algorithm}", "algorithm.reward_centering=0", "replay.capacity=1000"]
    train(tmp_path, *overrides, "env.kwargs={bad_above: 2.5, bad_reward: 1.0e+38}")
    skipped = [row["train/skipped_updates"] for row in learning(tmp_path)[1:]]
    assert 0 < sum(skipped) < 150
    state = arrays(tmp_path)
    assert state["state/agent/gradient_steps"] == 200 - sum(skipped)
    assert all(np.isfinite(array).all() for array in state.values() if array.dtype.kind == "f")
    assert all(row["train/critic_loss"] is not None for row in learning(tmp_path)[1:])


@pytest.mark.parametrize(
    "fault", ["bad_reward: .nan", pytest.param("bad_reward: .inf", marks=pytest.mark.slow), "bad_observation: true"]
)
def test_faulty_physics_stay_out_of_the_replay(tmp_path: Path, fault: str) -> None:
    train(tmp_path, f"env.kwargs={{bad_above: 2.5, {fault}}}", "train.total_env_steps=440", "eval.episodes=40")
    rows = learning(tmp_path)[1:]
    assert sum(row["train/faults"] for row in rows) > 0
    assert sum(row["train/skipped_updates"] for row in rows) == 0
    assert all(np.isfinite(row["eval/return_mean"]) for row in rows)
    assert 0 < sum(row["eval/faults"] for row in rows) < 40 * len(rows)
    assert all(np.isfinite(array).all() for array in arrays(tmp_path).values() if array.dtype.kind == "f")


def test_an_environment_without_a_finite_step_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^env\.name: resumable:Drift gave no observation.* in 40 exploration steps"):
        train(tmp_path, "env.kwargs={bad_above: -100, bad_reward: .inf}")


def test_too_many_bad_updates_stop_the_run(tmp_path: Path) -> None:
    overrides = ["algorithm.reward_centering=0", "env.kwargs={bad_above: -100, bad_reward: 1.0e+38}"]
    with pytest.raises(RunError, match=r"^train\.max_bad_updates: 20 updates in a row .* is 000000000040-000001"):
        train(tmp_path, *overrides, "train.max_bad_updates=20")
    assert saved(tmp_path) == ["000000000040-000001"]
    assert int(arrays(tmp_path)["state/agent/bad_updates"]) == 0
