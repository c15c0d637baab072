"""The race against other implementations: the harness with a peer that only sleeps; slow: every real peer runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sacbrax.bench import peers, virtual_environments
from sacbrax.bench.__main__ import main
from sacbrax.bench.peers import PEERS, Peer
from sacbrax.core.errors import Interrupted
from sacbrax.core.signals import Interrupt

FAKE = """
import time
from recorder import Recorder
recorder = Recorder()
job = recorder.job
print("libraries print before the result")
time.sleep(0.2)
while not recorder.done():
    time.sleep(0.05)
    done = len(recorder.marks) + 1
    recorder.mark(done * recorder.vector_steps * job["num_envs"], done * job["chunk"])
    if recorder.evaluation_due():
        def episodes():
            time.sleep(0.3)
            return 40.0 * done / job["evaluate_every"]
        recorder.evaluate(episodes)
recorder.finish()
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A peer called `fake`, the only one, run by our own interpreter; its driver is the file returned."""
    shutil.copy(peers.DRIVERS / "recorder.py", tmp_path)
    driver = tmp_path / "fake.py"
    driver.write_text(FAKE)
    monkeypatch.setattr(peers, "PEERS", {"fake": Peer("fake", "sleeping", own=True, directory=tmp_path)})
    return driver


def race(capfd: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["peers", "--json", "--passes", "1", "--scenarios", "A", "B", *options]) == 0
    return json.loads(capfd.readouterr().out)


def test_the_harness_measures_what_the_peer_does(fake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Windows of 0.05 s, 0.2 s of setup, evaluations of 0.3 s that the clock does not see, a return of 40 per second
    evaluation."""
    result = race(capfd, "--cap", "0.5", "--passes", "2")
    assert result["skipped"] == {}
    assert [(row["peer"], row["scenario"], row["passes"]) for row in result["peers"]] == [("fake", s, 2) for s in "AB"]
    for row in result["peers"]:
        # Sleeping takes at least as long as asked for; on a busy machine longer.
        assert 256 / 2 < row["gradient_steps_per_second"] <= 256 / 0.05
        assert row["env_steps_per_second"] == pytest.approx(row["gradient_steps_per_second"])
        assert 0.15 < row["setup_seconds"] < 10
        assert row["peak_rss_bytes"] > 1e6
        # Evaluations after 4, 8, ... windows of 0.05 s: 40, 80, ...
        assert 0.4 <= row["seconds_to_return"]["30"] < 10
        assert row["seconds_to_return"]["345"] is None
        assert row["best_return"] >= 40
    assert all(run["passes"][1]["train_seconds"] < 10 for run in result["runs"])


def test_a_peer_that_fails_is_skipped_with_its_reason(fake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fake.write_text("raise ValueError('this GPU is too old')")
    result = race(capfd)
    assert result["peers"] == []
    assert result["skipped"] == dict.fromkeys(("fake A", "fake B"), "ValueError: this GPU is too old")


def test_the_least_of_time_is_two_windows(fake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = race(capfd, "--cap", "0")
    assert [len(run["passes"][0]["gradient_steps_per_second"]) for run in result["runs"]] == [2, 2]


@pytest.mark.parametrize("output", ["", "a warning", "[]", '{"env_steps_per_second": [1, 2]}'])
def test_what_is_no_result_is_an_error(output: str) -> None:
    with pytest.raises(RuntimeError, match="printed no result"):
        peers.parse(output)


@pytest.mark.slow
def test_environments_are_made_once_and_a_failure_names_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "empty.txt").write_text("")
    python = peers.environment(Peer("empty", "", directory=tmp_path))
    assert Path(python).is_relative_to(tmp_path / "cache" / "sacbrax" / "peers")
    assert "installing" in capsys.readouterr().out
    assert peers.environment(Peer("empty", "", directory=tmp_path)) == python
    assert capsys.readouterr().out == ""
    (tmp_path / "empty.txt").write_text("== no requirement")
    for _ in range(2):  # what failed is not taken for ready
        with pytest.raises(RuntimeError, match=r"(?i)invalid requirement|expected"):
            peers.environment(Peer("empty", "", directory=tmp_path))


def test_times_to_a_return_are_medians_over_passes() -> None:
    """A pass that does not get there takes infinitely long."""

    def result(seconds: float | None) -> dict[str, Any]:
        return {
            "env_steps_per_second": [1.0, 10.0, 30.0],
            "gradient_steps_per_second": [1.0, 10.0, 30.0],
            "setup_seconds": 2.0,
            "train_seconds": 9.0,
            "peak_rss_bytes": 1,
            "seconds_to_return": {"30": seconds, "100": None, "345": None},
            "best_return": None,
            "versions": {},
        }

    row = peers.summarize("fake", "A", [result(5.0), result(None), result(3.0)])
    assert row["seconds_to_return"] == {"30": 5.0, "100": None, "345": None}
    assert row["gradient_steps_per_second"] == 20.0  # the first window of each pass is left out
    assert peers.summarize("fake", "A", [result(None), result(None), result(3.0)])["seconds_to_return"]["30"] is None
    both, one = (peers.summarize("fake", "A", [result(5.0), result(seconds)]) for seconds in (3.0, None))
    assert (both["seconds_to_return"]["30"], one["seconds_to_return"]["30"]) == (4.0, None)
    assert peers.line(row).split()[:5] == ["fake", "A", "20", "20", "2.0"]


def test_mistakes_are_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--chunk", "100"]) == 2
    assert "multiple of 64" in capfd.readouterr().err


def test_every_driver_pins_its_versions() -> None:
    for peer in PEERS.values():
        assert (peer.directory / f"{peer.driver}.py").is_file()
        if not peer.own:
            lines = (peer.directory / f"{peer.driver}.txt").read_text().splitlines()
            assert lines
            assert all(line.count("==") == 1 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["A", "B"])
@pytest.mark.parametrize("name", PEERS)
def test_a_real_peer_learns(name: str, scenario: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A few windows, one evaluation."""
    arguments = ["peers", "--json", "--peers", name, "--scenarios", scenario, "--passes", "1"]
    assert main([*arguments, "--cap", "25", "--chunk", "64"]) == 0
    result = json.loads(capfd.readouterr().out)
    if name in result["skipped"]:
        pytest.skip(result["skipped"][name])
    (row,) = result["peers"]
    assert row["env_steps_per_second"] == pytest.approx(row["gradient_steps_per_second"], rel=0.01)
    assert 5 < row["gradient_steps_per_second"] < 1e5
    assert -50 < row["best_return"] < 400


def test_a_signal_ends_the_driver_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Interrupt, "watched", False)  # another test of this process may have begun a command
    listening = signal.set_wakeup_fd(-1)
    pid = tmp_path / "pid"
    script = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    def interrupt() -> None:
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted):
        virtual_environments.command([sys.executable, "-c", script])
    thread.join()
    signal.set_wakeup_fd(listening)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_killed_benchmark_leaves_no_driver(fake: Path, tmp_path: Path) -> None:
    """Not even by SIGKILL: the driver notices that nobody waits for its result. It holds a pipe open while it lives."""
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    fake.write_text(
        f"import time\nfrom recorder import Recorder\nalive = open({str(alive)!r}, 'w')\nRecorder()\ntime.sleep(60)"
    )
    job = peers.SETTINGS | {"cap": 1, "num_envs": 1, "updates": 1, "seed": 0}
    program = f"from sacbrax.bench import peers; from pathlib import Path; \
peers.run({sys.executable!r}, peers.Peer('fake', '', own=True, directory=Path({str(tmp_path)!r})), {job!r})"
    benchmark = subprocess.Popen([sys.executable, "-c", program])
    with open(alive) as pipe:  # waits for the driver
        benchmark.kill()
        benchmark.wait()
        begin = time.perf_counter()
        assert pipe.read() == ""
        assert time.perf_counter() - begin < 30
