"""Slow tests that decide: those that were seen to pass, with the seconds they took, in tests/decides.txt.

pytest -m slow --slow decides     these, in the order of the file
pytest -m slow --slow others      the rest, which are reported
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "decides.txt"
LIMIT = 45 * 60.0  # seconds of all that decide, one after the other; two cores take about half of it


def listed() -> list[tuple[float, str]]:
    """Seconds and name of a test or of a group of them (a file, or a function with all its parameters)."""
    lines = (line.split(maxsplit=1) for line in FILE.read_text(encoding="utf-8").splitlines())
    return [(float(words[0]), words[1]) for words in lines if words and words[0] != "#"]


def place(name: str, names: Sequence[str]) -> int | None:
    """Which of `names` a test belongs to."""
    for i, group in enumerate(names):
        if name == group or name.startswith((group + "::", group + "[")):
            return i
    return None


def choose(items: list[Any], which: str) -> tuple[list[Any], list[Any]]:
    """pytest's items, which of them run ("decides" or "others"), and which do not."""
    names = [name for _, name in listed()]
    places = {item: place(item.nodeid, names) for item in items}
    found = [item for item in items if places[item] is not None]
    others = [item for item in items if places[item] is None]
    found.sort(key=lambda item: places[item] or 0)  # stable: within a group as collected
    return (found, others) if which == "decides" else (others, found)
