"""A run begins in a directory that is new or empty and goes on in its own; whatever else is there is left alone."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from logs import learning
from resumable import YAML, arrays, configure, train

from sacbrax import config as config_lib
from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError
from sacbrax.core.files import lock, refuse_foreign
from sacbrax.run import loop
from sacbrax.run.directory import RunDirectory, check_unchanged
from sacbrax.sinks.files import MetricsFiles

FOREIGN = {
    "a configuration that is none of ours": {"config.yaml": "my: precious\n"},
    "a log": {"metrics.jsonl": '{"loss": 1}\n', "progress.csv": "loss\n1\n"},
    "a configuration of ours before any run": {"config.yaml": YAML},
    "checkpoints of another program": {"checkpoints/model.pt": "weights", "config.yaml": "lr: 0.1\n"},
    "checkpoints alone": {"checkpoints/model.pt": "weights"},
    "source": {"__init__.py": "", ".git/HEAD": "ref"},
    "something hidden": {".env": "SECRET=1"},
}


def contents(path: Path) -> dict[Path, bytes | None]:
    return {entry: entry.read_bytes() if entry.is_file() else None for entry in path.rglob("*")}


def write(path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_directory_with_other_files_is_refused_and_untouched(files: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "run", files)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=r"^run\.dir: .* holds other files .* nothing was changed"):
        RunDirectory.of(configure(tmp_path / "run")).__enter__()
    assert contents(tmp_path) == before


def test_new_empty_begun_and_own_directories_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "copied", {"checkpoints/000000000040-000001/manifest.json": "{}", "metrics.jsonl": ""})
    write(tmp_path / "unsaved", {"checkpoints/best_policy.npz": "", "config.yaml": YAML, "summary.json": "{}"})
    write(tmp_path / "killed", {".lock": "", "checkpoints/.writing-1/room": "", "metrics.jsonl.tmp": ""})
    for name in ("new", "empty", "copied", "unsaved", "killed", "new"):
        with RunDirectory.of(configure(tmp_path / name)) as directory:
            assert directory.checkpoints.is_dir()


def test_runs_of_one_second_have_directories_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        @staticmethod
        def now() -> datetime:
            return datetime(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr("sacbrax.run.directory.datetime", Clock)
    monkeypatch.chdir(tmp_path)
    config = config_lib.load("swimmer", ["run.name=x"])
    with RunDirectory.of(config) as first, RunDirectory.of(config) as second, RunDirectory.of(config) as third:
        paths = [directory.path for directory in (first, second, third)]
        assert all(directory.checkpoints.is_dir() for directory in (first, second, third))
    assert [path.name for path in paths] == ["2026-01-02_03-04-05" + end for end in ("", "-2", "-3")]


def test_the_place_of_a_file_of_transitions_may_change(tmp_path: Path) -> None:
    here, there, none = (
        config_lib.load("swimmer", [f"replay.prior={place}"]) for place in ("first.npz", "/elsewhere/first.npz", "null")
    )
    check_unchanged(here, there)
    for stored, config in ((here, none), (none, here)):
        with pytest.raises(ConfigError, match=r"^replay\.prior: "):
            check_unchanged(stored, config)


def test_every_directory_that_is_written_to_is_asked_about(tmp_path: Path) -> None:
    """Of a sweep or a study it is the same: what is there is theirs, or was locked at a start that got no further."""
    write(tmp_path, {"base.yaml": "my: precious\n"})
    with pytest.raises(ConfigError, match=r"^dir: .*\(base\.yaml\)"):
        refuse_foreign(tmp_path, "dir", ["base.yaml"], lambda: False)
    with lock(tmp_path, "dir"):
        refuse_foreign(tmp_path, "dir", ["base.yaml"], lambda: False)
    refuse_foreign(tmp_path, "dir", [], lambda: True)


def test_a_directory_that_is_removed_is_made_again(tmp_path: Path) -> None:
    with RunDirectory.of(configure(tmp_path / "run")) as directory:
        assert not directory.mend()
        shutil.rmtree(directory.path)
        assert directory.mend()
        assert directory.checkpoints.is_dir()
        assert not directory.mend()
        shutil.rmtree(directory.path)
        with RunDirectory.of(configure(tmp_path / "run")), pytest.raises(RunError, match="in use"):
            directory.mend()


def test_a_log_that_is_removed_or_changed_is_written_again(tmp_path: Path) -> None:
    rows = [{"env_steps": i} for i in range(5)]
    files = MetricsFiles(tmp_path, rows[:2])
    files.write(rows[2])
    assert files.mend() == []
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "progress.csv").write_text("")
    assert files.mend() == ["metrics.jsonl", "progress.csv"]
    files.write(rows[3])
    (tmp_path / "metrics.jsonl").rename(tmp_path / "elsewhere")
    assert files.mend() == ["metrics.jsonl"]
    files.write(rows[4])
    files.close()
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows
    assert (tmp_path / "progress.csv").read_text().split() == ["env_steps", *map(str, range(5))]


def test_a_run_whose_directory_is_removed_amid_training_ends_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    advance = loop._Run._advance

    def removing(self: Any, *arguments: Any) -> Any:
        if self.progress.iteration == 50:
            self.store.close()  # as long as a checkpoint is being written, it would be there again
            shutil.rmtree(self.directory)
        return advance(self, *arguments)

    monkeypatch.setattr(loop._Run, "_advance", removing)
    result = train(tmp_path / "run", "train.total_env_steps=360")
    assert "somebody removed" in capsys.readouterr().err
    assert [row["env_steps"] for row in learning(tmp_path / "run")] == [40, 120, 200, 280, 360]
    assert arrays(tmp_path / "run")["state/iteration"] == 90
    for name in ("config.yaml", "summary.json", "progress.csv", "checkpoints/best_policy.npz"):
        assert (tmp_path / "run" / name).is_file(), name
    assert result.policy()([0.0, 0.0]).shape == (1,)


def test_a_run_of_a_release_with_another_default_engine_goes_on_by_its_name() -> None:
    """The engine of a run that named one, or that is of this release, may not change."""
    old, named, other = (
        config_lib.parse("env: {name: ant_v5}", "text", list(overrides))
        for overrides in ((), ("env.engine=mjx",), ("env.engine=fused",))
    )
    check_unchanged(old, named)
    check_unchanged(old, other)
    check_unchanged(other, old)
    for stored, config in ((named, other), (named, old)):
        with pytest.raises(ConfigError, match="has 'mjx'"):
            check_unchanged(stored, config)
