"""The folder of compiled programs stays below its limit, and what is in use stays in it."""

import os
from pathlib import Path

import pytest

from sacbrax import cli
from sacbrax.xla import program_cache


@pytest.fixture
def folder(tmp_path):
    """Four programs of 100 bytes; read, and in the last case written, in the order of their names."""
    for day, name in enumerate("abcd"):
        path = tmp_path / name
        path.write_bytes(bytes(100))
        os.utime(path, (1e9, 2e9) if name == "d" else (1e9 + 86_400 * day, 1e9))
    return tmp_path


@pytest.mark.parametrize(("largest", "left"), [(400, "abcd"), (399, "bcd"), (250, "cd"), (100, "d"), (0, "")])
def test_what_was_longest_not_read_goes(folder, largest, left):
    program_cache.trim(folder, largest)
    assert sorted(path.name for path in folder.iterdir()) == list(left)


def test_no_folder_is_no_fault(tmp_path):
    program_cache.trim(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_deleted_stays_and_the_rest_goes(folder, monkeypatch):
    unlink = Path.unlink

    def refuse(path, missing_ok=False):
        if path.name == "a":
            raise PermissionError
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    program_cache.trim(folder, 200)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "d"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_command_trims_our_folder_and_no_folder_of_the_users_own(tmp_path, monkeypatch, elsewhere):
    if elsewhere:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    else:
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trimmed = []
    monkeypatch.setattr(program_cache, "trim", trimmed.append)
    # What this process has configured for its other tests stays.
    monkeypatch.setattr("jax.config.update", lambda *_: None)
    cli.prepare_jax()
    assert trimmed == ([] if elsewhere else [tmp_path / "sacbrax" / "xla"])
