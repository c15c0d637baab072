"""Services that follow a run: what arrives there, that learning does not notice them, and what their failures do."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import wandb
from PIL import Image
from shared_programs import run_sharing
from tiny_config import make_tiny

from sacbrax import sinks
from sacbrax.config import Config, ConfigError
from sacbrax.core.errors import RunError
from sacbrax.sinks import Service, Sinks, Worker, videos
from sacbrax.sinks.console import Reporter
from sacbrax.sinks.wandb import WeightsAndBiases

CLOCKS = ("wall_seconds", "time/env_steps_per_second", "time/gradient_steps_per_second")
LIBRARIES = [  # of the services' own
    "ignore::DeprecationWarning",
    "ignore::PendingDeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
]
ROWS = [
    {
        "env_steps": 100 * i,
        "gradient_steps": 10 * i,
        "wall_seconds": 1.5 * i,
        "eval/return_mean": 7.0 * i,
        "eval/return_std": 1.0,
        "eval/length_mean": 5.0,
        "time/env_steps_per_second": 1e3,
        "time/gradient_steps_per_second": 1e2,
        "train/loss": None if i == 0 else 0.5,
    }
    for i in range(3)
]


def learning(directory: Path) -> list[dict]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCKS} for line in lines]


def events(directory: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(directory / "tensorboard"), purge_orphaned_data=True)
    accumulator.Reload()
    return accumulator


def follow(config: Config, directory: Path, rows: list[dict], before: list[dict] = (), video: Path | None = None):
    """All that a run tells its sinks."""
    everyone = Sinks(config, directory, before, Reporter(1, quiet=True))
    for row in rows:
        everyone.row(row)
    if video is not None:
        everyone.video(video, rows[-1]["env_steps"])
    everyone.finish({"best_return": 14.0})
    everyone.close()


@pytest.fixture
def gif(tmp_path: Path) -> Path:
    frames = [Image.new("RGB", (16, 12), (80 * i, 0, 0)) for i in range(3)]
    frames[0].save(tmp_path / "policy.gif", save_all=True, append_images=frames[1:])
    return tmp_path / "policy.gif"


def test_tensorboard_holds_every_number(tmp_path: Path, gif: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = make_tiny("logging.tensorboard=true", "train.seed=3")
    follow(config, tmp_path, ROWS, video=gif)
    assert capfd.readouterr().err == ""
    found = events(tmp_path)
    for key in set(ROWS[0]) - {"env_steps"}:
        expected = [(row["env_steps"], row[key]) for row in ROWS if row[key] is not None]
        assert [(event.step, event.value) for event in found.Scalars(key)] == expected, key
    (picture,) = found.Images("policy")
    assert (picture.step, picture.width, picture.height) == (200, 16, 12)
    assert picture.encoded_image_string == gif.read_bytes()
    hyperparameters = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"train.seed" in hyperparameters
    assert b"algorithm.learning_rate" in hyperparameters


def test_tensorboard_of_a_run_that_goes_on_has_each_step_once(tmp_path: Path) -> None:
    config = make_tiny("logging.tensorboard=true")
    follow(config, tmp_path, ROWS)
    time.sleep(1.1)  # event files are named by the second
    other = {**ROWS[2], "eval/return_mean": -1.0}
    follow(config, tmp_path, [other], before=ROWS[:2])
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("eval/return_mean")] == [(0, 0), (100, 7), (200, -1)]


def test_tensorboard_switched_off_for_a_while_has_what_it_missed(tmp_path: Path) -> None:
    config = make_tiny("logging.tensorboard=true")
    follow(config, tmp_path, ROWS[:1])
    (tmp_path / "tensorboard_id").unlink()  # an older release kept none
    for before in (ROWS[:1], ROWS):
        time.sleep(1.1)  # event files are named by the second
        follow(config, tmp_path, [], before=before)
    assert [event.step for event in events(tmp_path).Scalars("eval/return_mean")] == [0, 100, 200]


def test_tensorboard_switched_on_late_has_the_past(tmp_path: Path) -> None:
    follow(make_tiny("logging.tensorboard=true"), tmp_path, ROWS[2:], before=ROWS[:2])
    assert [event.step for event in events(tmp_path).Scalars("eval/return_mean")] == [0, 100, 200]


def test_a_run_that_begins_again_is_a_new_one_for_every_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that saves nothing and came no further than its first evaluation: its files are replaced, and a service
    shows the new run beside the old one."""
    names = [tmp_path / "run" / f"{name}_id" for name in ("wandb", "mlflow", "trackio")]
    overrides = (f"run.dir={tmp_path / 'run'}", "logging.tensorboard=true", "checkpoint.full=false")
    monkeypatch.setattr(Reporter, "evaluation", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    for seed in (0, 1):
        run_sharing(make_tiny(*overrides, f"train.seed={seed}"))
        assert not any(name.exists() for name in names)
        for name in names:
            name.write_text("the run of before 16\n")
    (row,) = (json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    (event,) = events(tmp_path / "run").Scalars("wall_seconds")
    assert (event.step, event.value) == (16, pytest.approx(row["wall_seconds"]))


def test_learning_does_not_notice(tmp_path: Path) -> None:
    run_sharing(make_tiny(f"run.dir={tmp_path / 'alone'}"))
    run_sharing(make_tiny(f"run.dir={tmp_path / 'followed'}", "logging.tensorboard=true"))
    assert learning(tmp_path / "alone") == learning(tmp_path / "followed")
    steps = [row["env_steps"] for row in learning(tmp_path / "followed")]
    assert [event.step for event in events(tmp_path / "followed").Scalars("eval/return_mean")] == steps


class Broken(Service):
    """Fails at its second row."""

    def __init__(self) -> None:
        self.rows = 0

    def row(self, row: sinks.Row) -> None:
        self.rows += 1
        if self.rows == 2:
            raise ConnectionError("the service is away\nand more")


class Slow(Service):
    """Never comes back."""

    def row(self, row: sinks.Row) -> None:
        threading.Event().wait()


def test_a_failing_service_warns_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sinks, "_make", lambda *_: Broken())
    run_sharing(make_tiny(f"run.dir={tmp_path / 'run'}", "logging.tensorboard=true"))
    assert len(learning(tmp_path / "run")) == 3
    assert capfd.readouterr().err == (
        "warning: logging.tensorboard: the service is away; training goes on without it\n"
    )


def test_a_service_that_cannot_start_is_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tensorboard").write_text("a file where the directory should be")
    follow(make_tiny("logging.tensorboard=true"), tmp_path, ROWS)
    error = capfd.readouterr().err
    assert error.startswith("warning: logging.tensorboard: ")
    assert error.count("\n") == 1
    assert len(learning(tmp_path)) == 3


def test_a_service_that_hangs_holds_nobody_up(capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker("slow", Slow, Reporter(1, quiet=True))
    begin = time.monotonic()
    for row in ROWS:
        worker.put(lambda service, row=row: service.row(row))
    assert time.monotonic() - begin < 1.0
    worker.close(0.1)
    assert capfd.readouterr().err == "warning: logging.slow: not done after 0 s, left alone\n"


def test_a_package_that_is_not_there_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sinks.SERVICES, "wandb", ("wandb:WeightsAndBiases", "no_such_package", "wandb"))
    with pytest.raises(ConfigError, match=r"logging.wandb: .* not installed; pip install 'sacbrax\[wandb\]'"):
        Sinks(make_tiny("logging.wandb=offline"), tmp_path, [], Reporter(1, quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_off_is_a_word() -> None:
    """YAML 1.1 reads it as false."""
    assert make_tiny("logging.wandb=off").logging.wandb == "off"
    with pytest.raises(ConfigError, match=r"logging.wandb: expected a text, got True"):
        make_tiny("logging.wandb=on")


@pytest.mark.filterwarnings(*LIBRARIES)
def test_wandb_offline_keeps_every_number(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The file that `wandb sync` sends holds names and values as text."""
    follow(make_tiny("logging.wandb=offline", "train.seed=3"), tmp_path, ROWS)
    assert capfd.readouterr().err == ""
    wandb.teardown()  # its process closes the file after a run's end; the end of a program waits for it, as here
    (stored,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = stored.read_bytes()
    name, sent = (tmp_path / "wandb_id").read_text().split()
    assert name.encode() in content
    assert sent == "200"
    for text in (b"eval/return_mean", b"14.0", b"learning_rate", b"best_return"):
        assert text in content


@pytest.fixture
def rows_at_wandb(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """As they are there: what is logged without a step joins the newest one."""
    there: list[dict] = []

    class Run:
        def log(self, numbers: dict, step: int | None = None) -> None:
            if step is not None:
                there.append({"step": step})
            there[-1].update(numbers)

    monkeypatch.setattr(wandb, "init", lambda **_: Run())
    monkeypatch.setattr(wandb, "Html", lambda path: path)
    return there


def test_a_video_leaves_the_newest_row_at_wandb_its_own_step(tmp_path: Path, rows_at_wandb: list[dict]) -> None:
    """It is done some evaluations later."""
    service = WeightsAndBiases(make_tiny("logging.wandb=offline"), tmp_path, ROWS[:2])
    service.video(tmp_path / "policy.html", 0)
    assert (rows_at_wandb[-1]["env_steps"], rows_at_wandb[-1]["policy_env_steps"]) == (100, 0)


def test_wandb_gets_what_it_missed_and_nothing_twice(tmp_path: Path, rows_at_wandb: list[dict]) -> None:
    for rows in (ROWS[:1], ROWS[:1], ROWS):  # the last part follows one in which it was away
        WeightsAndBiases(make_tiny("logging.wandb=offline"), tmp_path, rows)
    assert [row["step"] for row in rows_at_wandb] == [0, 100, 200]


@pytest.mark.slow
@pytest.mark.filterwarnings(*LIBRARIES)
def test_wandb_without_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    run_sharing(make_tiny(f"run.dir={tmp_path / 'run'}", "logging.wandb=online"))
    assert len(learning(tmp_path / "run")) == 3
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: logging.wandb: ")
    assert not (tmp_path / "run" / "wandb_id").exists(), "or a later part of the run would send the rows from then on"


def other(row: dict) -> dict:
    """As a run that goes on from a checkpoint measures it once more: only clocks differ."""
    return row | {"wall_seconds": row["wall_seconds"] + 100.0}


@pytest.mark.filterwarnings(*LIBRARIES)
def test_mlflow_has_one_run_with_each_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gif: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # where it keeps what is no number
    config, directory = make_tiny("logging.mlflow=true", "train.seed=3"), tmp_path / "run"
    directory.mkdir()
    follow(config, directory, ROWS[:2])
    # Once more from the checkpoint of row 0: row 1 is known there.
    follow(config, directory, [other(ROWS[1]), ROWS[2]], before=ROWS[:1], video=gif)
    assert capfd.readouterr().err == ""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("sacbrax").experiment_id
    (found,) = client.search_runs([experiment])
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params["train.seed"] == "3"
    assert found.data.tags["best_return"] == "14.0"
    assert (directory / "mlflow_id").read_text().strip() == found.info.run_id
    for key in set(ROWS[0]) - {"env_steps"}:
        expected = [(row["env_steps"], row[key]) for row in ROWS if row[key] is not None]
        assert [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, key)] == expected, key
    assert [file.path for file in client.list_artifacts(found.info.run_id, "videos")] == ["videos/policy.gif"]
    (tmp_path / "failed").mkdir()
    Sinks(config, tmp_path / "failed", [], Reporter(1, quiet=True)).close()  # as after an error, without a summary
    newest = client.search_runs([experiment])[0]
    assert (newest.info.run_name, newest.info.status, "best_return" in newest.data.tags) == ("failed", "FAILED", False)


TRACKIO_TEST = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_sinks import ROWS, follow, other
from tiny_config import make_tiny
config, directory = make_tiny("logging.trackio=true", "train.seed=3"), Path({directory!r})
follow(config, directory, ROWS[:2])
follow(config, directory, [other(ROWS[1]), ROWS[2]], before=ROWS[:1], video=Path({gif!r}))
"""


@pytest.mark.filterwarnings(*LIBRARIES)
def test_trackio_has_one_run_with_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gif: Path) -> None:
    """In a process of its own: it reads where its database is when it is imported, and keeps threads."""
    pytest.importorskip("trackio")
    directory = tmp_path / "run"
    directory.mkdir()
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]
    script = TRACKIO_TEST.format(paths=paths, directory=str(directory), gif=str(gif))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (database,) = (tmp_path / "trackio").glob("sacbrax*.db")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        stored = connection.execute("select run_name, step, metrics from metrics order by step, id").fetchall()
    names = {name for name, _, _ in stored}
    assert names == {(directory / "trackio_id").read_text().rpartition(" ")[0]}
    metrics = [(step, json.loads(text)) for _, step, text in stored]
    assert [(step, row) for step, row in metrics if "policy" not in row] == [
        (row["env_steps"], {key: value for key, value in row.items() if value is not None}) for row in ROWS
    ]
    assert [step for step, row in metrics if "policy" in row] == [200]


class Painter(Service):
    """Takes its time over a policy."""

    def __init__(self, announce) -> None:
        self.announce, self.go = announce, threading.Event()

    def policy(self, path: Path, env_steps: int) -> None:
        assert self.go.wait(60)
        self.announce(path, env_steps)


class Listener(Service):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.videos, self.summary = [], None

    def video(self, path: Path, env_steps: int) -> None:
        self.videos.append((path, env_steps))

    def finish(self, summary) -> None:
        self.summary = summary


def test_every_kth_policy_is_drawn_unless_the_last_one_still_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, starting = {}, threading.Event()

    def make(path, config, directory, more):
        starting.wait()
        name = path.partition(":")[0]
        made[name] = Painter(more) if name == "videos" else Listener()
        return made[name]

    monkeypatch.setattr(sinks, "_make", make)
    config = make_tiny("logging.video_every_evaluations=2", "logging.tensorboard=true")
    everyone = Sinks(config, tmp_path, [], Reporter(1, quiet=True))
    everyone.row(ROWS[0])
    assert everyone.wants_policy(2), "also when it is still starting and there are rows for the others"
    assert not everyone.wants_policy(1)
    starting.set()
    everyone.policy(tmp_path / "a.npz", 200)
    assert not everyone.wants_policy(4), "still busy"
    wait_until(lambda: "videos" in made)
    made["videos"].go.set()
    wait_until(lambda: everyone.wants_policy(4))
    everyone.policy(tmp_path / "b.npz", 400)
    everyone.finish({"best_return": 1.0})
    everyone.close()
    assert made["tensorboard"].videos == [(tmp_path / "a.npz", 200), (tmp_path / "b.npz", 400)]
    assert made["tensorboard"].summary == {"best_return": 1.0}


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_policy_is_drawn_in_all_formats_by_a_program(tmp_path: Path, instead_of_python) -> None:
    """TensorBoard shows GIFs alone, so one is drawn for it besides; who announces hears of a file once it is there."""
    instead_of_python(f'printf "%s\\n" "$@" > {tmp_path}/arguments; echo "$JAX_PLATFORMS" > {tmp_path}/platforms')
    told = []
    config = make_tiny("logging.video_formats=[html]", "logging.tensorboard=true")
    service = videos.Videos(config, tmp_path, lambda path, env_steps: told.append((path.name, env_steps)))
    service.policy(tmp_path / "policy.npz", 1200)
    assert told == [("000000001200.html", 1200), ("000000001200.gif", 1200)]
    outs = [f"{tmp_path}/videos/{name}" for name, _ in told]
    expected = ["-m", "sacbrax.render", f"{tmp_path}/policy.npz", "--import", "--out", *outs]
    assert (tmp_path / "arguments").read_text().splitlines() == expected
    assert (tmp_path / "platforms").read_text() == "cpu\n", "the accelerator is training's"


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("echo loading >&2; echo 'error: nothing to draw' >&2; exit 2", "nothing to draw"),
        ("exit 3", "exit status 3"),
    ],
)
def test_a_program_that_draws_nothing_says_why(tmp_path: Path, instead_of_python, script: str, line: str) -> None:
    instead_of_python(script)
    service = videos.Videos(make_tiny(), tmp_path, lambda *_: pytest.fail("there is no file"))
    with pytest.raises(RunError, match=f"^{line}$"):
        service.policy(tmp_path / "policy.npz", 0)


def test_a_run_that_ends_does_not_wait_for_a_video(
    tmp_path: Path, instead_of_python, capfd: pytest.CaptureFixture[str]
) -> None:
    instead_of_python(f"touch {tmp_path}/started; exec sleep 100")
    announced: list[Path] = []
    service = videos.Videos(make_tiny(), tmp_path, lambda path, _: announced.append(path))
    worker = Worker("videos", lambda: service, Reporter(1, quiet=True))
    worker.put(lambda service: service.policy(tmp_path / "policy.npz", 0))
    wait_until((tmp_path / "started").exists)
    worker.close(0.1)
    worker._thread.join(60)
    assert not worker._thread.is_alive(), "the program was killed"
    assert announced == []
    assert capfd.readouterr().err == "warning: logging.videos: not done after 0 s, left alone\n"


@pytest.mark.slow
def test_a_run_draws_its_policies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    overrides = ["env.name=swimmer", "env.episode_length=20", "logging.tensorboard=true"]
    overrides += ["logging.video_every_evaluations=2", "logging.video_formats=[html]"]
    run_sharing(make_tiny(f"run.dir={tmp_path / 'plain'}", *overrides[:2]))
    run_sharing(make_tiny(f"run.dir={tmp_path / 'run'}", *overrides))
    assert capfd.readouterr().err == ""
    assert learning(tmp_path / "run") == learning(tmp_path / "plain")
    step = learning(tmp_path / "run")[1]["env_steps"]
    assert [path.name for path in sorted((tmp_path / "run" / "videos").iterdir())] == [
        f"{step:012d}.gif",
        f"{step:012d}.html",
    ]
    (picture,) = events(tmp_path / "run").Images("policy")
    assert picture.step == step


@pytest.mark.slow
def test_what_cannot_be_drawn_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_sharing(make_tiny(f"run.dir={tmp_path / 'run'}", "logging.video_every_evaluations=1"))
    warning = "warning: logging.videos: the task probes:Cue has no MuJoCo model and joint positions to draw; "
    assert capfd.readouterr().err == warning + "training goes on without it\n"
    assert len(learning(tmp_path / "run")) == 3
