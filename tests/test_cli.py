"""Every command's --help, as a newcomer reads it."""

import contextlib
import importlib
import importlib.util

import pytest

from sacbrax import __main__ as overview
from sacbrax.bench.__main__ import BENCHMARKS

HELPS = [(name, []) for name in overview.available()] + [("bench", [name]) for name in BENCHMARKS]


@pytest.mark.parametrize(("command", "arguments"), HELPS)
def test_help_has_an_example(command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    name = f"sacbrax.{command}"
    spec = importlib.util.find_spec(name)
    door = importlib.import_module(f"{name}.__main__" if spec.submodule_search_locations else name)
    with contextlib.suppress(SystemExit):  # argparse leaves by itself
        assert door.main([*arguments, "--help"]) == 0
    text = capsys.readouterr().out
    words = " ".join(["python", "-m", name, *arguments])
    assert f"example: {words} " in " ".join(text.split())
    assert text.startswith("usage: ")
    assert "None" not in text


def test_every_command_is_here() -> None:
    expected = {"train", "evaluate", "render", "plot", "watch", "compare", "list", "report", "export", "bench"}
    assert expected <= set(overview.available()) <= set(overview.COMMANDS)
