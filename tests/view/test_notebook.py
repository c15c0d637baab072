"""The notebook: stored without outputs, calls the package alone, and runs from top to bottom, also a second time."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from sacbrax import notebook
from sacbrax.core.errors import RunError

PATH = Path(__file__).parents[2] / "notebooks" / "swimmer_colab.ipynb"
SMALL = (
    "env.num_envs=4 env.episode_length=20 replay.capacity=512 network.hidden_sizes=[8] train.batch_size=8 "
    "algorithm.n_step=1 train.exploration_env_steps=16 eval.every_env_steps=40 eval.episodes=2 "
    "checkpoint.every_env_steps=40"
)


def test_it_is_stored_without_outputs() -> None:
    stored = nbformat.read(PATH, as_version=4)
    nbformat.validate(stored)
    for cell in stored.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


class Colab(types.ModuleType):
    """What the notebook takes from `google.colab`: a browser that uploads one file."""

    def __init__(self, wheel: str):
        super().__init__("google.colab")
        self.files, self.wheel, self.asked = self, wheel, 0

    def upload(self) -> dict[str, bytes]:
        self.asked += 1
        Path(self.wheel).write_bytes(b"a wheel")
        return {self.wheel: b"a wheel"}


def test_its_cell_installs_what_is_uploaded_once_and_says_when_to_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A session in which nothing of ours is, and JAX and its plugin are, of which pip replaces NumPy alone."""
    cells = [cell.source for cell in nbformat.read(PATH, as_version=4).cells if cell.cell_type == "code"]
    (install,) = (source for source in cells if '"pip"' in source)
    versions = {"numpy": "1", "jax": "2", "jax-cuda13-plugin": "2"}
    colab, commands = Colab("sacbrax-1-py3-none-any.whl"), []

    def pip(command: list[str], check: bool) -> None:
        commands.append(command)
        versions["numpy"] = "1.1"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SACBRAX_RUN_DIR", str(tmp_path / "kept" / "run"))
    monkeypatch.delenv("SACBRAX_SOURCE", raising=False)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", pip)
    for _ in range(2):  # a new session after a disconnect: the wheel is in the mounted folder
        versions["numpy"] = "1"
        names: dict[str, object] = {}
        exec(cells[0], names)
        monkeypatch.setattr(names["metadata"], "version", lambda package: versions[package])
        monkeypatch.setattr(names["metadata"], "PackageNotFoundError", KeyError)
        exec(install, names)
    assert colab.asked == 1
    where = (tmp_path / "kept" / colab.wheel).as_uri()
    assert [command[-1] for command in commands] == [f"sacbrax[cuda13,plot] @ {where}"] * 2
    assert capsys.readouterr().out.count("Restart session") == 2


def test_a_failure_is_in_the_commands_own_words(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    with pytest.raises(RunError, match=r"error: train\.sed: unknown key; did you mean seed"):
        notebook.train("swimmer", tmp_path / "run", ["train.sed=1"])


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell cannot trap what its parent ignores, as one in the background of another shell does SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_stop_button_is_heard_once(instead_of_python, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter interrupts the kernel's whole group of processes, and we training, which would not save at a second
    signal."""
    pytest.importorskip("IPython")
    groups = []

    def stop(process: subprocess.Popen, _: float) -> None:
        groups.append(os.getpgid(process.pid))
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    instead_of_python(f"trap 'echo saved; exit 130' INT; touch {tmp_path}/begun; while :; do sleep 0.05; done")
    monkeypatch.setattr(notebook, "_wait", stop)
    notebook.train("swimmer", tmp_path / "run")
    assert len(groups) == 1
    assert groups != [os.getpgrp()]


@pytest.mark.usefixtures("interruptible")
def test_a_failure_here_ends_the_training_that_nobody_would_see(
    instead_of_python, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("IPython")

    def fail(*_: object) -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        raise ValueError("no picture")

    instead_of_python(
        f"trap 'touch {tmp_path}/saved; exit 130' INT; touch {tmp_path}/begun; while :; do sleep 0.05; done"
    )
    monkeypatch.setattr(notebook, "_show", fail)
    with pytest.raises(ValueError, match="no picture"):
        notebook.train("swimmer", tmp_path / "run", every=0.01)
    assert (tmp_path / "saved").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_it_runs_and_goes_on_after_a_disconnect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("SACBRAX_SOURCE", "")
    monkeypatch.setenv("SACBRAX_RUN_DIR", str(tmp_path / "run"))
    lines = tmp_path / "run" / "metrics.jsonl"
    for steps in (100, 180):  # the second time everything is new but the folder
        monkeypatch.setenv("SACBRAX_OVERRIDES", f"{SMALL} train.total_env_steps={steps}")
        book = nbformat.read(PATH, as_version=4)
        NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
        rows = [json.loads(line) for line in lines.read_text().splitlines()]
        assert steps <= rows[-1]["env_steps"] < steps + 40
        assert [row["env_steps"] for row in rows] == sorted({row["env_steps"] for row in rows})
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "the curve"
    assert "\x1b" not in "".join(output.get("text", "") for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs), "no warnings"
    assert any("iframe" in output.get("data", {}).get("text/html", "") for output in outputs), "the episode"
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "swim.html").exists()
