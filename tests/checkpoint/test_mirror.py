"""Checkpoints copied elsewhere by fsspec: what is there, that a run goes on from it, and what a failure does."""

import json
import re
import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from shared_programs import run_sharing
from tiny_config import make_tiny

from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.checkpoint.mirror import Mirror
from sacbrax.config import Config, ConfigError
from sacbrax.run.loop import run

CLOCKS = ("wall_seconds", "time/env_steps_per_second", "time/gradient_steps_per_second")


def config(directory: Path, mirror: str | Path, *more: str) -> Config:
    return make_tiny(f"run.dir={directory}", f"checkpoint.mirror={mirror}", "checkpoint.every_env_steps=40", *more)


def learning(directory: Path) -> list[dict]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCKS} for line in lines]


@pytest.fixture
def memory() -> fsspec.AbstractFileSystem:
    """fsspec's memory, empty."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    return system


def test_a_run_goes_on_from_its_copy(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    here, there = tmp_path / "here" / "run", tmp_path / "there" / "run"
    run_sharing(config(here, "memory://kept/runs/"))
    names = checkpoint_files.names(here / "checkpoints")
    found = sorted(
        path.removeprefix("/kept/runs/run/checkpoints/") for path in memory.find("/kept/runs/run/checkpoints")
    )
    assert len(names) == 2
    assert sorted({path.partition("/")[0] for path in found}) == [*names, "best_policy.npz"], "older ones are gone"
    for path in memory.find("/kept/runs/run/checkpoints"):
        assert memory.cat(path) == (here / path.removeprefix("/kept/runs/run/")).read_bytes()
    fs, path = fsspec.url_to_fs("memory://kept/runs/run")  # as the documentation has it
    fs.get(path, str(there), recursive=True)
    before = learning(here)
    run_sharing(config(there, tmp_path / "mirror", "train.total_env_steps=136"))
    after = learning(there)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    assert (tmp_path / "mirror" / "run" / "checkpoints" / "best_policy.npz").is_file()


def test_another_runs_place_is_refused(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    name = checkpoint_files.checkpoint_name(40, 1)
    (tmp_path / "a" / "run" / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "a" / "run" / "checkpoints" / name / "manifest.json").write_text("{}")
    first = Mirror("memory://kept", tmp_path / "a" / "run", keep=2)
    first.refuse_foreign()
    first.copy(name)
    first.refuse_foreign()
    stored = dict(memory.store)
    with pytest.raises(ConfigError, match=r"checkpoint\.mirror: memory://kept/run holds the checkpoints of a run"):
        run(config(tmp_path / "b" / "run", "memory://kept"), quiet=True)
    assert memory.store == stored
    Mirror("memory://kept", tmp_path / "b" / "other", keep=2).refuse_foreign()


def test_a_copy_that_fails_is_a_warning_and_the_next_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    copied: list[str] = []
    put = LocalFileSystem.put_file

    def sometimes(self: LocalFileSystem, source: str, target: str, **more: object) -> None:
        copied.append(source)
        if len(copied) == 2:
            raise ConnectionError("the service is away\nand more")
        put(self, source, target, **more)

    monkeypatch.setattr(LocalFileSystem, "put_file", sometimes)
    run_sharing(config(tmp_path / "run", tmp_path / "mirror"))
    (warning,) = capfd.readouterr().err.splitlines()
    assert re.fullmatch(
        r"warning: checkpoint\.mirror: \S+ was not copied to \S+: the service is away; training goes on", warning
    )
    names = checkpoint_files.names(tmp_path / "run" / "checkpoints")
    assert checkpoint_files.names(tmp_path / "mirror" / "run" / "checkpoints")[-1:] == names[-1:]
    newest = [path for path in copied if f"/{names[-1]}/" in path]
    assert newest[-1].endswith("/manifest.json"), "by which a copy is known to be whole"
    checkpoint_files.notes(tmp_path / "mirror" / "run" / "checkpoints" / names[-1])


@pytest.mark.parametrize("url", ["nosuchprotocol://a/b", "gs://bucket/runs"])
def test_what_fsspec_cannot_reach_is_one_line(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # not installed
    with pytest.raises(ConfigError, match=rf"^checkpoint\.mirror: {url}: .+"):
        run(config(tmp_path / "run", url), quiet=True)


def test_a_run_directory_is_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"run\.dir: s3://bucket/run is no directory.*checkpoint\.mirror=URL"):
        run(make_tiny("run.dir=s3://bucket/run"), quiet=True)
    assert list(tmp_path.iterdir()) == []
