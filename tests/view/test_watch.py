"""The page that watches runs: what it is told, that it only reads, whom it refuses, and the page in a real browser."""

import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from browser import needs_browser, open_url, tab
from made_runs import make_run

from sacbrax import watch as door
from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError
from sacbrax.view import runs
from sacbrax.view.live.directory import POINTS, Directory
from sacbrax.view.live.episodes import Episodes, newest_policy
from sacbrax.view.live.server import Server, trusted

HOSTILE = "<img src=x onerror=console.error(1)>"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serves `runs` below the test's directory on a free port."""
    (tmp_path / "runs").mkdir()
    with Server("127.0.0.1", 0, Directory(tmp_path / "runs")) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def told(server: Server, path: str) -> dict:
    status, content, _ = ask(server, path)
    assert status == 200, content
    return json.loads(content)


def test_runs_and_sweeps(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "sweep" / "runs" / "trial_0000"
    run = make_run(folder, rows=400, more=lambda t: {"seed_0/train/x": 1.0})
    make_run(tmp_path / "runs" / "other", finished=False)
    trial = {"trial": 0, "status": "done", "score": 4.5, "parameters": {"a.b": 0.001}, "run": str(run)}
    strange = {"trial": 1, "status": "done", "score": "x", "parameters": {"a.b": 2}, "run": "/etc"}
    (tmp_path / "runs" / "sweep" / "trials.jsonl").write_text(f"{json.dumps(trial)}\n{json.dumps(strange)}\n")
    found = told(server, "/api/runs")
    assert {each["name"]: each["state"] for each in found["runs"]} == {
        "sweep/runs/trial_0000": "done",
        "other": "open",
    }
    assert "train/temperature" in found["metrics"]
    assert "seed_0/train/x" not in found["metrics"]
    (sweep,) = found["sweeps"]
    first, second = sweep["trials"]
    assert (first["score"], first["parameters"], first["run"]) == (4.5, {"a.b": "0.001"}, "sweep/runs/trial_0000")
    assert (second["score"], second["run"]) == (None, None)


def test_curves_grow(server: Server, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "a b", more=lambda t: {"train/odd": float("nan") if t == 2 else 1.23456789})
    told(server, "/api/runs")
    path = f"/api/curves?run={quote('a b')}&x=wall_seconds&metric=eval/return_mean&metric=train/odd&metric=absent"
    found = told(server, path)
    assert found["x"] == [0, 2, 4, 6, 8]
    assert found["values"] == {
        "eval/return_mean": [0, 10, 20, 30, 40],
        "train/odd": [1.23457, 1.23457, None, 1.23457, 1.23457],
        "absent": [],
    }
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"env_steps": 500, "wall_seconds": 10.0, "eval/return_mean": 50.0}\n{"env_ste')
    told(server, "/api/runs")
    assert told(server, path)["values"]["eval/return_mean"][-1] == 50


def test_a_long_run_is_drawn_from_some_of_its_rows(server: Server, tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "long", rows=3000)
    told(server, "/api/runs")
    found = told(server, "/api/curves?run=long&metric=eval/return_mean")
    assert len(found["x"]) == POINTS
    assert found["x"][-1] == 299_900


def test_settings(server: Server, tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a", "algorithm.tau=0.02", "train.seed=1")
    make_run(tmp_path / "runs" / "b", "algorithm.tau=0.03", "train.seed=2")
    told(server, "/api/runs")
    found = told(server, "/api/settings?run=a&run=b&run=../a")
    assert found == {"columns": ["a", "b"], "rows": [["algorithm.tau", "0.02", "0.03"]]}
    alone = told(server, "/api/settings?run=a")
    assert alone["columns"] == ["a", "default"]
    assert ["algorithm.tau", "0.02", "0.005"] in alone["rows"]
    make_run(tmp_path / "runs" / "default", "algorithm.tau=0.02")
    told(server, "/api/runs")
    assert ["algorithm.tau", "0.02", "0.005"] in told(server, "/api/settings?run=default")["rows"]


@pytest.mark.parametrize(
    "path",
    [
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/watch.html/../../../pyproject.toml",
        "//etc/passwd",
        "/player.js",
        "/api/curves?run=../../../etc",
        "/api/curves?run=/etc",
        "/api/curves?run=a&x=__class__",
        "/api/curves",
    ],
)
def test_there_is_nothing_else(server: Server, tmp_path: Path, path: str) -> None:
    make_run(tmp_path / "runs" / "a")
    told(server, "/api/runs")
    status, content, _ = ask(server, path)
    assert status == 404
    assert len(content) < 100


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "", "[::1", "127.0.0.1.evil.example"])
def test_a_name_that_leads_here_from_elsewhere_is_refused(server: Server, host: str) -> None:
    assert ask(server, "/", Host=host)[0] == 403


def test_what_another_page_asks_for_is_refused(server: Server) -> None:
    assert ask(server, "/api/runs", Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(server, "/episode?run=a", Sec_Fetch_Site="same-site")[0] == 403
    assert ask(server, "/", Sec_Fetch_Site="cross-site")[0] == 200, "a link to the page is a link"
    assert ask(server, "/api/runs", Sec_Fetch_Site="same-origin")[0] == 200


def test_names_of_this_machine() -> None:
    assert all(map(trusted, ("localhost:80", "127.0.0.1", "[::1]:8642", "192.168.0.7:1")))
    assert not any(map(trusted, ("", "a.b", "localhost.evil", "127.0.0.1@evil.example")))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_reads(server: Server, method: str) -> None:
    assert ask(server, "/api/runs", method)[0] == 501


def test_nothing_is_written(server: Server, tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a")

    def state() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}

    before = state()
    for path in ("/", "/api/runs", "/api/curves?run=a&metric=train/faults", "/api/settings?run=a", "/episode?run=a"):
        assert ask(server, path)[0] == 200
    assert state() == before


def test_headers(server: Server) -> None:
    _, content, headers = ask(server, "/")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert b"http" not in content, "the page loads nothing from elsewhere"
    assert "sandbox allow-scripts" in ask(server, "/episode?run=a")[2]["Content-Security-Policy"]
    status, content, _ = ask(server, "/", If_None_Match=headers["ETag"])
    assert (status, content) == (304, b"")
    status, content, headers = ask(server, "/", "HEAD")
    assert (status, content) == (200, b"")


def drawn(picture: np.ndarray) -> int:
    """Pixels as colourful as the curves and dots of runs."""
    spread = picture.astype(int).max(axis=-1) - picture.astype(int).min(axis=-1)
    return int((spread > 80).sum())


@needs_browser
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_in_a_browser(server: Server, tmp_path: Path, width: int) -> None:
    picture, console = open_url(server.url, tmp_path, width, 900, seconds=3)
    assert console == []
    empty = drawn(picture)
    for name in ("one", HOSTILE):
        make_run(tmp_path / "runs" / name, f"env.name='a:{HOSTILE}'", more=lambda t: {f"diag/{HOSTILE}": 1.0})
    (tmp_path / "runs" / "trials.jsonl").write_text(json.dumps({"trial": HOSTILE, "parameters": {HOSTILE: HOSTILE}}))
    picture, console = open_url(server.url, tmp_path, width, 900, seconds=3)
    assert console == []
    assert drawn(picture) > empty + 500, "the curves"


@needs_browser
def test_the_address_keeps_the_view(server: Server, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_run(tmp_path / "runs" / name)
    view = "#run=one&metric=train/critic_loss&x=wall_seconds&smoothing=20&log=true&episode=one"
    fewer, console = open_url(server.url + view, tmp_path, 1000, 700, seconds=3)
    assert console == []
    assert 100 < drawn(fewer) < drawn(open_url(server.url, tmp_path, 1000, 700, seconds=3)[0])


@needs_browser
def test_a_page_that_is_opened_early_shows_the_first_runs(server: Server, tmp_path: Path) -> None:
    with tab(tmp_path) as page:
        page.open(server.url)
        page.wait("document.querySelector('#state').textContent === 'no runs here yet'")
        make_run(tmp_path / "runs" / "one")
        page.wait("document.querySelectorAll('#panels figure').length > 3")
        page.wait("document.querySelector('#runs input').checked")
        assert page.errors == []


def with_policy(run: Path, name: str = "best_policy.npz") -> Path:
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / name).write_bytes(b"a policy")
    return run / "checkpoints" / name


def test_an_episode_is_drawn_once_for_each_policy(server: Server, tmp_path: Path, instead_of_python) -> None:
    """By the renderer, which is told the policy that was written last and may import nothing."""
    run = make_run(tmp_path / "runs" / "a")
    told(server, "/api/runs")
    assert b"there is no policy yet" in ask(server, "/episode?run=a")[1]
    policy = with_policy(run)
    instead_of_python(f'echo "$@" >> {tmp_path}/calls; for out; do :; done; echo "drawn" > "$out"')
    for _ in range(2):
        assert ask(server, "/episode?run=a")[1] == b"drawn\n"
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert re.fullmatch(rf"-m sacbrax\.render {policy} --out \S+/episode\.html", call)
    snapshot = with_policy(run, "snapshot_000000000100.npz")
    assert newest_policy(run)[0] == snapshot
    ask(server, "/episode?run=a")
    assert str(snapshot) in (tmp_path / "calls").read_text().splitlines()[-1]


def test_why_there_is_no_episode(server: Server, tmp_path: Path, instead_of_python) -> None:
    with_policy(make_run(tmp_path / "runs" / "a"))
    told(server, "/api/runs")
    instead_of_python(f'echo "error: {HOSTILE}" >&2; exit 2')
    content = ask(server, "/episode?run=a")[1].decode()
    assert "No episode: &lt;img" in content
    assert HOSTILE not in content


def test_closing_ends_the_drawing(tmp_path: Path, instead_of_python) -> None:
    with_policy(make_run(tmp_path / "a"))
    instead_of_python(f"touch {tmp_path}/started; exec sleep 100")
    episodes, errors = Episodes(), []

    def draw() -> None:
        try:
            episodes.page(tmp_path / "a")
        except RunError as error:
            errors.append(str(error))

    thread = threading.Thread(target=draw)
    thread.start()
    while not (tmp_path / "started").exists():
        pass
    episodes.close()
    thread.join(60)
    assert errors == ["exit status -9"]


def test_a_page_that_is_closed_too_soon_is_no_error(
    server: Server, tmp_path: Path, instead_of_python, capfd: pytest.CaptureFixture[str]
) -> None:
    with_policy(make_run(tmp_path / "runs" / "a"))
    told(server, "/api/runs")
    instead_of_python(
        f"touch {tmp_path}/started; until [ -e {tmp_path}/closed ]; do sleep 0.01; done; for out; do :; done; "
        'head -c 9000000 /dev/zero > "$out"'
    )
    with socket.create_connection(server.server_address[:2]) as client:
        client.sendall(b"GET /episode?run=a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # at once, with a reset
    (tmp_path / "closed").touch()
    while any("process_request" in thread.name for thread in threading.enumerate()):
        time.sleep(0.01)
    assert capfd.readouterr().err == ""


def test_a_sweep_that_is_removed_while_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "find", lambda directory: ([], [directory / "gone"]))
    assert Directory(tmp_path).listing()["sweeps"] == [{"name": "gone", "trials": []}]


@pytest.mark.slow
def test_a_real_episode(server: Server, tmp_path: Path) -> None:
    from sacbrax.policy_file.files import PRETRAINED

    policy = with_policy(make_run(tmp_path / "runs" / "a"))
    policy.write_bytes((PRETRAINED / "swimmer.npz").read_bytes())
    told(server, "/api/runs")
    assert b'class="player"' in ask(server, "/episode?run=a")[1]


def test_the_command(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a")
    command = [sys.executable, "-m", "sacbrax.watch", str(tmp_path / "runs"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        port = int(re.match(r"http://127\.0\.0\.1:(\d+)/ shows ", line)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/api/runs")
        assert [run["name"] for run in json.loads(connection.getresponse().read())["runs"]] == ["a"]
        process.send_signal(signal.SIGINT)
        connection.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["README.md/absent"], "README.md/absent"),
        ([".", "--port", "70000"], "--port"),
        ([".", "--host", "example.org"], "--host"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error:")
    assert error.count("\n") == 1
    assert word in error


def test_a_port_in_use(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--port: cannot listen on 127\.0\.0\.1:\d+: .*; 0 takes a free one"):
        Server("127.0.0.1", server.server_address[1], Directory(tmp_path))
