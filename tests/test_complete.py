"""What a shell is told when Tab is pressed, asked as argcomplete's hook asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def completions(line: str, directory: Path) -> list[str]:
    out = directory / "out"
    asked = {"_ARGCOMPLETE": "1", "COMP_TYPE": "9", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    asked |= {"_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(out), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sacbrax"]
    subprocess.run(command, env=os.environ | asked, cwd=directory, check=True, capture_output=True)
    return [word.strip() for word in out.read_text().splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sacbrax tra", ["train"]),
        ("sacbrax train swimmer_m", ["swimmer_mjx"]),
        ("sacbrax train swimmer env.eng", ["env.engine="]),
        ("sacbrax train swimmer env.engine=", ["env.engine=fused", "env.engine=mjx", "env.engine=warp"]),
        ("sacbrax train swimmer checkpoint.full=t", ["checkpoint.full=true"]),
        ("sacbrax evaluate --engine g", ["gymnasium"]),
        ("sacbrax compare my", ["my_runs/"]),
        ("sacbrax hub pu", ["push", "pull"]),
        ("sacbrax hub push my", ["my_runs/"]),
    ],
)
def test_completions(line: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "my_runs").mkdir()
    assert completions(line, tmp_path) == expected
