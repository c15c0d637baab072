"""Several processes as one run, over the loopback: one log, the same learning, a dead peer, any number afterwards."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from logs import learning
from resumable import arrays, configure, newest, start

from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.config import ConfigError, ParallelConfig
from sacbrax.core.errors import RunError
from sacbrax.parallel import processes, watch
from sacbrax.train import main
from sacbrax.training.plan import Plan

SIZES = ("eval.episodes=4", "parallel.shards=2", "run.compilation_cache=true")


def together(directory: Path, count: int, *overrides: str) -> list[subprocess.Popen[str]]:
    """The tiny run by `count` processes with two devices in all."""
    if count == 1:
        return [start(directory, *SIZES, "parallel.devices=2", *overrides)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    joint = ("parallel.devices=2", f"parallel.processes={count}", f"parallel.coordinator=127.0.0.1:{port}")
    return [start(directory, *SIZES, *joint, f"parallel.process={i}", *overrides) for i in range(count)]


def ends(processes: list[subprocess.Popen[str]], seconds: float = 300) -> list[tuple[int, str]]:
    """Status and standard error of each."""
    found = []
    for process in processes:
        try:
            _, text = process.communicate(timeout=seconds)
        finally:
            process.kill()
        found.append((process.returncode, own_lines(text)))
    return found


def own_lines(text: str) -> str:
    """Without the line with which Gloo greets."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("[Gloo]"))


def wait_for_checkpoint(directory: Path, env_steps: int) -> None:
    deadline = time.monotonic() + 300
    while not [n for n in checkpoint_files.names(directory / "checkpoints") if int(n.split("-")[0]) >= env_steps]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_two_processes_are_one_run_and_survive_a_death(tmp_path: Path) -> None:
    """Killed amid training, the other one says so and ends with 1; then two, and one, go on to the same numbers."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert ends(together(whole, 1)) == [(0, "")]
    assert ends(together(tmp_path / "two", 2)) == [(0, ""), (0, "")]
    assert_close(whole, tmp_path / "two")
    assert (tmp_path / "two/summary.json").is_file()
    assert (tmp_path / "two/checkpoints/best_policy.npz").is_file()

    processes = together(killed, 2, "train.total_env_steps=1000000000")
    wait_for_checkpoint(killed, 280)
    processes[1].kill()
    begin = time.monotonic()
    status, text = ends(processes)[0]
    assert time.monotonic() - begin < 10
    assert status == 1
    assert text == (
        "error: process 1 of 2 is gone; start all of them again, or any other number, and the run goes on from its "
        "last checkpoint"
    )
    reached = int(newest(killed).name.split("-")[0])
    assert ends(together(killed, 2, f"train.total_env_steps={reached + 80}")) == [(0, ""), (0, "")]
    assert ends(together(killed, 1, f"train.total_env_steps={reached + 160}")) == [(0, "")]
    assert ends(together(killed, 2, f"train.total_env_steps={reached + 240}")) == [(0, ""), (0, "")]
    steps = [row["env_steps"] for row in learning(killed)]
    assert steps == list(range(40, reached + 241, 80))


@pytest.mark.slow
def test_the_death_of_the_first_process_is_noticed_too(tmp_path: Path) -> None:
    """It is the one that JAX's own service runs in, which may have a warning to say before."""
    processes = together(tmp_path / "run", 2, "train.total_env_steps=1000000000")
    wait_for_checkpoint(tmp_path / "run", 40)
    processes[0].kill()
    status, text = ends(processes)[1]
    assert (status, text.splitlines()[-1].partition(";")[0]) == (1, "error: process 0 of 2 is gone")


@pytest.mark.slow
def test_a_signal_to_one_stops_all_with_everything_saved(tmp_path: Path) -> None:
    processes = together(tmp_path / "run", 2, "train.total_env_steps=1000000000", "checkpoint.every_env_steps=1000000")
    wait_for_checkpoint(tmp_path / "run", 40)
    time.sleep(2)
    processes[1].send_signal(signal.SIGTERM)
    assert ends(processes) == [(143, ""), (143, "")]
    assert int(newest(tmp_path / "run").name.split("-")[0]) > 40


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0, 1])
def test_a_process_that_never_comes_is_an_error(tmp_path: Path, missing: int) -> None:
    waiting = together(tmp_path / "run", 2, "parallel.join_seconds=3")
    waiting[missing].kill()
    status, text = ends(waiting)[1 - missing]
    assert status == 1
    line = f"error: parallel.processes: process {missing} of 2 did not come within 3 s"
    assert text == line if missing else text.startswith(f"{line}: 127.0.0.1:")
    assert text.count("\n") == 0


def meeting(*processes: tuple[int, int], seconds: float = 20) -> list[Any]:
    """What each process (its number, of how many) makes of the others: those it is connected with, or why not."""
    listener = watch.listen(0)
    address = f"localhost:{listener.getsockname()[1]}"

    def process(number: int, count: int) -> Any:
        try:
            found = watch.report(address, number, count, 20) if number else watch.gather(listener, count, seconds)
        except (RunError, ConfigError) as error:
            return type(error), str(error)
        for peer in found:
            peer.connection.close()
        return sorted(peer.index for peer in found)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda arguments: process(*arguments), processes))


def test_processes_meet_or_all_hear_why_not() -> None:
    assert meeting((0, 3), (2, 3), (1, 3)) == [[1, 2], [0], [0]]
    missing = (RunError, "parallel.processes: processes 1, 3 of 4 did not come within 0.3 s")
    assert meeting((0, 4), (2, 4), seconds=0.3) == [missing, missing]
    twice = (ConfigError, "parallel.process: two processes have number 1")
    assert meeting((0, 3), (1, 3), (1, 3)) == [twice] * 3
    other = (ConfigError, "parallel.processes: 3 in process 1, 2 in process 0")
    assert meeting((0, 2), (1, 3)) == [other] * 2


def test_who_is_nobody_or_comes_again_while_they_meet() -> None:
    """A stranger on the port is not counted, and a process started anew takes its place."""
    listener = watch.listen(0)
    address = listener.getsockname()[:2]
    with socket.create_connection(("localhost", address[1])) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with socket.create_connection(("localhost", address[1])) as first:
            first.sendall(watch.HELLO.pack(watch.MAGIC, 1, 3))
        with ThreadPoolExecutor() as pool:
            zero = pool.submit(watch.gather, listener, 3, 20)
            others = [pool.submit(watch.report, f"localhost:{address[1]}", 2, 3, 20)]
            time.sleep(0.5)  # two have come, of whom one is gone: that is not all
            others.append(pool.submit(watch.report, f"localhost:{address[1]}", 1, 3, 20))
            connected = [peer for future in (zero, *others) for peer in future.result()]
    assert sorted(peer.index for peer in connected) == [0, 0, 1, 2]
    for peer in connected:
        peer.connection.close()


def test_an_address_that_cannot_be_had() -> None:
    with watch.listen(0) as taken, pytest.raises(ConfigError, match=r"^parallel\.coordinator: .*in use"):
        watch.listen(taken.getsockname()[1])
    with pytest.raises(
        RunError, match=r"^parallel\.processes: process 0 of 2 did not come within 0.1 s: localhost:1: "
    ):
        watch.report("localhost:1", 1, 2, 0.1)
    with socket.create_server(("localhost", 0)) as other, ThreadPoolExecutor() as pool:
        told = pool.submit(watch.report, f"localhost:{other.getsockname()[1]}", 1, 2, 20)
        other.accept()[0].close()
        with pytest.raises(RunError, match="is gone, or began without this one"):
            told.result()


def assert_close(one: Path, other: Path) -> None:
    """Sums between processes are ordered anew, and 200 updates carry that on; counts and shapes are alike."""
    left, right = arrays(one), arrays(other)
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert value.shape == right[key].shape
        np.testing.assert_allclose(value.astype(float), right[key].astype(float), rtol=1e-3, atol=1e-3, err_msg=key)
    assert [row["env_steps"] for row in learning(one)] == [row["env_steps"] for row in learning(other)]


def test_what_several_processes_need_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    joint = ("parallel.devices=2", "parallel.processes=2", "parallel.coordinator=127.0.0.1:1")
    for overrides, message in (
        (("parallel.processes=2",), "parallel.coordinator: expected host:port"),
        (("parallel.processes=2", "parallel.coordinator=here:70000"), "parallel.coordinator: expected host:port"),
        ((*joint, "parallel.process=2"), "parallel.process: must be below parallel.processes = 2"),
        ((*joint, "parallel.devices=3"), "parallel.devices: must be all, or divide by parallel.processes = 2"),
    ):
        with pytest.raises(ConfigError, match=f"^{message}"):
            configure(tmp_path, *overrides)
    with pytest.raises(ConfigError, match=r"^parallel\.processes: call sacbrax\.hosts\.join"):
        Plan.of(configure(tmp_path, *joint))
    config = tmp_path / "config.yaml"
    config.write_text("parallel: {processes: some}\n")
    assert main([str(config)]) == 2
    assert "expected a whole number or cluster" in capsys.readouterr().err


def test_one_process_agrees_with_itself() -> None:
    assert processes.agree(3) == processes.largest(3) == 3
    assert processes.agree_text("a b") == "a b"
    assert processes.first()
    assert not processes.several()
    assert not processes.joined()
    processes.wait("here")
    processes.part()


@pytest.fixture
def of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as the second of three that say 5, 2 and 9 for a number, and what it says itself for an array."""
    monkeypatch.setattr(processes, "several", lambda: True)
    monkeypatch.setattr(processes, "_gathered", lambda value: np.array([5, 2, 9], np.int32))


@pytest.mark.usefixtures("of_several")
def test_several_processes_agree_on_the_first_ones_value() -> None:
    assert processes.agree(2) == 5
    assert processes.largest(2) == 9
    assert type(processes.agree(2)) is type(processes.largest(2)) is int


@pytest.mark.usefixtures("of_several")
@pytest.mark.parametrize("own", ["hallo", "halloween", ""])
def test_texts_of_other_lengths_come_as_the_first_ones(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    """Arrays that are exchanged must be of one shape: that of process 0's text, 5 bytes."""
    shapes = []

    def broadcast(data: np.ndarray) -> np.ndarray:
        shapes.append(data.shape)
        return np.frombuffer("süß".encode(), np.uint8)

    monkeypatch.setattr("jax.experimental.multihost_utils.broadcast_one_to_all", broadcast)
    assert processes.agree_text(own) == "süß"
    assert shapes == [(5,)]


def test_an_empty_text_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "several", lambda: True)
    monkeypatch.setattr(processes, "_gathered", lambda value: np.array([0, 3], np.int32))
    assert processes.agree_text("abc") == ""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `processes` asks of JAX and of `watch`, none of which happens."""
    calls: list[tuple[Any, ...]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *args, **_: calls.append((name, *args))

    distributed = SimpleNamespace(initialize=note("initialize"), shutdown=note("shutdown"))
    monkeypatch.setattr(jax, "distributed", distributed)
    monkeypatch.setattr(jax, "config", SimpleNamespace(update=note("update")))
    monkeypatch.setattr(processes, "_hold", note("hold"))
    monkeypatch.setattr(processes, "wait", note("wait"))
    return calls


def test_given_processes_meet_before_jax_looks_for_them(calls: list[tuple[Any, ...]]) -> None:
    processes.join(ParallelConfig())
    assert calls == [], "one process joins nobody"
    processes.join(ParallelConfig(processes=2, process=1, coordinator="here:12", join_seconds=7))
    collectives = ("update", "jax_cpu_collectives_implementation", "gloo")
    assert calls == [collectives, ("hold", "here:12", 1, 2, 7), ("initialize", "here:12", 2, 1)]


def test_in_a_cluster_jax_finds_them_first(calls: list[tuple[Any, ...]]) -> None:
    processes.join(ParallelConfig(processes="cluster", join_seconds=7))
    assert calls[1:] == [("initialize",), ("hold", None, 0, 1, 7)]


def test_a_cluster_of_one_process_has_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = ParallelConfig(processes="cluster")
    with pytest.raises(ConfigError, match=r"^parallel\.processes: call sacbrax\.hosts\.join"):
        processes.check(cluster, "runs/here")
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    processes.check(cluster, "runs/here")


def test_jax_that_finds_nobody_is_one_line(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    def initialize(*args: Any, **options: Any) -> None:
        raise RuntimeError("DEADLINE_EXCEEDED: barrier\nand a stack trace")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    line = r"^parallel\.processes: the processes did not find each other: DEADLINE_EXCEEDED: barrier$"
    with pytest.raises(RunError, match=line):
        processes.join(ParallelConfig(processes="cluster"))
    assert [call[0] for call in calls] == ["update"], "there is nobody to hold a connection with"


def test_who_leaves_is_not_missed(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    line = SimpleNamespace(farewell=lambda: calls.append(("farewell",)))
    monkeypatch.setattr(watch.Watch, "of_process", line)
    assert processes.joined()
    processes.part()
    assert calls == [("wait", "part"), ("farewell",), ("shutdown",)], "all are through before the first one leaves"
    with pytest.raises(ConfigError, match=r"^run\.dir: must be given with parallel\.processes"):
        processes.check(ParallelConfig(processes=2), None)
    processes.check(ParallelConfig(processes=2), "runs/here")


def test_a_failure_waits_for_news_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(processes.time, "sleep", slept.append)
    processes.await_news()
    assert slept == [], "one alone has none to wait for"
    monkeypatch.setattr(watch.Watch, "of_process", object())
    processes.await_news()
    assert slept == [processes.PATIENCE]


LINE = """
import socket, sys, time
from sacbrax.parallel import watch
ours, theirs = socket.socketpair()
line = watch.Watch([watch.Peer(1, ours)], 2)
if sys.argv[1] == "farewell":
    theirs.sendall(watch.NUMBER.pack(watch.FAREWELL))
elif sys.argv[1] == "told":
    theirs.sendall(watch.NUMBER.pack(5))
theirs.close()
time.sleep(1)
"""


@pytest.mark.parametrize(("case", "gone"), [("farewell", None), ("silence", 1), ("told", 5)])
def test_a_connection_that_ends_is_noticed_and_a_farewell_is_not(case: str, gone: int | None) -> None:
    """In a process of its own, for it ends there."""
    done = subprocess.run([sys.executable, "-c", LINE, case], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == (0 if gone is None else 1)
    assert done.stderr == "" if gone is None else done.stderr.startswith(f"error: process {gone} of 2 is gone; start")
