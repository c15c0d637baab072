"""A run begins in a directory that is new or empty and goes on in its own; whatever else is there is left alone."""

from pathlib import Path

import pytest
from resumable import YAML, configure

from sacbrax.config import ConfigError
from sacbrax.core.files import lock, refuse_foreign
from sacbrax.run.directory import RunDirectory

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
        RunDirectory.of(configure(tmp_path / "run"), "run").__enter__()
    assert contents(tmp_path) == before


def test_new_empty_begun_and_own_directories_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "copied", {"checkpoints/000000000040-000001/manifest.json": "{}", "metrics.jsonl": ""})
    write(tmp_path / "unsaved", {"checkpoints/best_policy.npz": "", "config.yaml": YAML, "summary.json": "{}"})
    write(tmp_path / "killed", {".lock": "", "checkpoints/.writing-1/room": "", "metrics.jsonl.tmp": ""})
    for name in ("new", "empty", "copied", "unsaved", "killed", "new"):
        with RunDirectory.of(configure(tmp_path / name), "run") as directory:
            assert directory.checkpoints.is_dir()


def test_every_directory_that_is_written_to_is_asked_about(tmp_path: Path) -> None:
    """Of a sweep or a study it is the same: what is there is theirs, or was locked at a start that got no further."""
    write(tmp_path, {"base.yaml": "my: precious\n"})
    with pytest.raises(ConfigError, match=r"^dir: .*\(base\.yaml\)"):
        refuse_foreign(tmp_path, "dir", ["base.yaml"], lambda: False)
    with lock(tmp_path, "dir"):
        refuse_foreign(tmp_path, "dir", ["base.yaml"], lambda: False)
    refuse_foreign(tmp_path, "dir", [], lambda: True)
