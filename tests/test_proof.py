"""What proves the tests themselves: changes that a test must notice can be planted, and slow tests decide once seen."""

import random
import subprocess
import sys
from pathlib import Path

import mutate
import pytest
import slow_tests

TESTS = Path(__file__).parent


def test_every_listed_change_can_be_planted() -> None:
    mutants = mutate.read()
    assert [problem for problem in map(mutate.problem, mutants) if problem] == []
    assert len(mutants) >= 80
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in mutants}) == len(mutants)
    assert {"agents", "training", "envs", "engines", "parallel", "checkpoint", "run", "policies", "sweep"} <= {
        mutant.area for mutant in mutants
    }


@pytest.mark.slow
def test_changes_are_told_apart(tmp_path: Path) -> None:
    """In a tree of its own: one that a test notices, one that none does, one that breaks the import."""
    (tmp_path / "tests" / "mutants").mkdir(parents=True)
    (tmp_path / "double.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "tests" / "test_double.py").write_text(
        "from double import double\n\n\ndef test_double():\n    assert double(2) == 4\n"
    )
    entry = "- {{file: double.py, old: '2 * x', new: '{}', tests: [tests/test_double.py]{}}}\n"
    changes = [("3 * x", ""), ("x + 2", ""), ("2 + x", ", survives: the same at 2"), ("2 *", "")]
    (tmp_path / "tests" / "mutants" / "some.yaml").write_text("".join(entry.format(*change) for change in changes))
    command = [sys.executable, "-m", "tests.mutate", "--root", str(tmp_path)]
    result = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=300)
    outcomes = [line.split(" (")[0] for line in result.stdout.splitlines() if " -> " in line]
    assert outcomes == ["caught", "SURVIVED", "SURVIVED as listed: the same at 2", "BROKEN: no test ran"], result
    assert "caught 1 of 4, 25 %; not as listed: 2" in result.stdout
    assert result.returncode == 1
    (tmp_path / "double.py").write_text("def double(x):\n    return x + x\n")
    assert mutate.main(["--root", str(tmp_path)]) == 2, "the text is no longer there"


@pytest.mark.slow
def test_a_sample_of_the_changes_is_noticed() -> None:
    """Another sample every time; its seed is in the output of a failure."""
    seed = random.SystemRandom().randrange(10**6)
    command = [sys.executable, "-m", "tests.mutate", "--sample", "12", "--seed", str(seed)]
    result = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_slow_tests_that_decide_exist_and_fit() -> None:
    listed = slow_tests.listed()
    assert sum(seconds for seconds, _ in listed) <= slow_tests.LIMIT
    for _, name in listed:
        file, _, function = name.partition("::")
        text = (TESTS.parent / file).read_text(encoding="utf-8")
        assert f"def {function.partition('[')[0]}(" in text if function else "slow" in text, name
    names = [name for _, name in listed]
    assert len(set(names)) == len(names)
    for i, name in enumerate(names):
        assert slow_tests.place(name, names[:i]) is None, f"{name} is in a group before it"
