"""Every command's --help, as a newcomer reads it, and the numbers that its options take."""

import argparse
import contextlib
import importlib
import importlib.util

import pytest

from sacbrax import __main__ as overview
from sacbrax.bench.__main__ import BENCHMARKS
from sacbrax.cli import COUNT, SEED, duration

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


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "", "4294967296", "9" * 40, "²", "nan"])
def test_a_seed_is_one_of_numpys(text: str) -> None:
    assert SEED("4294967295") == 2**32 - 1
    assert COUNT("4294967296") == 2**32
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number, from 0 to 4294967295, got '"):
        SEED(text)


@pytest.mark.parametrize("text", ["-1", "x", "", "nan", "inf"])
def test_a_duration_can_be_waited_for(text: str) -> None:
    assert (duration("0.5"), duration("0")) == (0.5, 0)
    with pytest.raises(argparse.ArgumentTypeError, match="a number of seconds, not negative, got '"):
        duration(text)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("evaluate swimmer --seed 99999999999999999999", "argument --seed: expected a whole number"),
        ("evaluate swimmer --episodes 0", "argument --episodes: expected a whole number, positive"),
        ("evaluate swimmer --seed-index -1", "argument --seed-index: expected a whole number, not negative"),
        ("report run --episodes 0", "argument --episodes: expected"),
        ("render swimmer --out x.gif --steps 0", "argument --steps: expected"),
        ("plot run --out picture", "--out: picture must end in .png"),
        ("bench physics --seconds nan", "argument --seconds: expected a number of seconds"),
        ("bench parity --states -2", "argument --states: expected"),
        (
            "list nosuch",
            "unknown 'nosuch'; choose from tasks, configs, presets, policies, runs; see python -m sacbrax.",
        ),
        ("zoo nosuch", "unknown 'nosuch'; choose from train, page; see python -m sacbrax.zoo --help"),
        ("plot run --kind bars", "argument --kind: unknown 'bars'; choose from curves, q_surface"),
    ],
)
def test_arguments_that_cannot_be_are_one_line(command: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *arguments = command.split()
    module = importlib.import_module(f"sacbrax.{name}" + (".__main__" if name in ("bench", "zoo") else ""))
    assert module.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1
