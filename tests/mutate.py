"""Does a test notice? Plants small wrong changes, one at a time, and runs the default tests that should see each.

    python -m tests.mutate                          every change of tests/mutants/*.yaml
    python -m tests.mutate --only replay            those with this word in their list, file or text
    python -m tests.mutate --sample 10 --seed 3     some, drawn at random

A change is a file, a text that is there exactly once, the text to put in its place, and the tests that should then
fail. Everything happens in a temporary copy of the tree. The tests must pass there before anything is planted, else a
failure would say nothing. A change marked `survives` is one that no test can or should see, and says why.
"""

import argparse
import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SECONDS = 600  # of the tests of one change; whatever takes longer hangs, which is noticed too
# Imported once: each run of tests is a fork of this process.
HEAVY = (
    "numpy",
    "scipy.special",
    "pytest",
    "hypothesis",
    "jax.numpy",
    "flax.linen",
    "optax",
    "mujoco.mjx",
    "brax.envs",
)
CAUGHT, SURVIVED, HANGS, BROKEN = "caught", "SURVIVED", "caught, hangs", "BROKEN: no test ran"


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One wrong change."""

    area: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str | None = None  # why nothing sees it

    @property
    def name(self) -> str:
        """For messages, one line."""
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}: {old} -> {new or 'nothing'}"


def read(root: Path = ROOT) -> list[Mutant]:
    """All changes, in the order of the files."""
    found = []
    for path in sorted((root / "tests" / "mutants").glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            found.append(Mutant(path.stem, **(entry | {"tests": tuple(entry["tests"])})))
    return found


def problem(mutant: Mutant, root: Path = ROOT) -> str | None:
    """Why a change cannot be planted in this tree; None if it can."""
    path = root / mutant.file
    if not path.is_file():
        return f"{mutant.name}: there is no such file"
    count = path.read_text(encoding="utf-8").count(mutant.old)
    if count != 1:
        return f"{mutant.name}: the text is there {count} times"
    if mutant.old == mutant.new or not mutant.tests:
        return f"{mutant.name}: changes nothing, or names no tests"
    for test in mutant.tests:
        file, _, function = test.partition("::")
        text = (root / file).read_text(encoding="utf-8") if (root / file).is_file() else ""
        if not re.search(rf"\bdef {function.partition('[')[0] or 'test_'}", text):
            return f"{mutant.name}: there is no {test}"
    return None


def copy_of(root: Path, target: Path) -> None:
    """The files that git knows or would add; without git all of them."""
    command = ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        shutil.copytree(root, target, dirs_exist_ok=True)
        return
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target / name)


@contextlib.contextmanager
def planted(mutant: Mutant, tree: Path) -> Iterator[None]:
    """The tree with the change in it, while the block runs."""
    path = tree / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def run_tests(tree: Path, tests: Iterable[str], seconds: float | None = None) -> int | None:
    """pytest's exit status in `tree`, output in pytest.log there; None if it takes too long."""
    options = [*tests, "-x", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    process = multiprocessing.get_context("fork").Process(target=_pytest, args=(tree, options))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def _pytest(tree: Path, options: list[str]) -> None:
    """In the fork. A byte code file would be believed after a change of the same size within the same second."""
    import pytest

    log = os.open(tree / "pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    status = pytest.main(options)
    sys.stdout.flush()
    os._exit(int(status))


def outcome(status: int | None) -> str:
    """What an exit status of pytest says about a change: 1 is a test that failed; a file may also fail to import."""
    return {None: HANGS, 0: SURVIVED, 1: CAUGHT}.get(status, BROKEN)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description="Plant wrong changes, run the tests.")
    parser.add_argument("--only", metavar="WORD", default="", help="changes with this word in list, file or text")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of them, drawn at random")
    parser.add_argument("--seed", type=int, help="of the sample; drawn and printed when left out")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree (default: this one)")
    return parser.parse_args(argv)


def chosen(args: argparse.Namespace) -> list[Mutant]:
    """What the arguments ask for."""
    mutants = [m for m in read(args.root) if args.only in f"{m.area} {m.name}"]
    if args.sample is None:
        return mutants
    seed = random.randrange(10**6) if args.seed is None else args.seed
    print(f"a sample of {args.sample} of {len(mutants)}: --sample {args.sample} --seed {seed}")
    return random.Random(seed).sample(mutants, min(args.sample, len(mutants)))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 if every change is caught that should be, 1 if not, 2 if the list or the tests are not in order."""
    args = parse(argv)
    mutants = chosen(args)
    problems = [text for text in (problem(mutant, args.root) for mutant in mutants) if text]
    if problems or not mutants:
        print("\n".join(problems or ["no such changes"]), file=sys.stderr)
        return 2
    with contextlib.redirect_stdout(None):  # mjx says what it does without
        for module in HEAVY if (args.root / "sacbrax").is_dir() else ():
            importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        copy_of(args.root, tree)
        begin = time.perf_counter()
        if run_tests(tree, sorted({test for mutant in mutants for test in mutant.tests})) != 0:
            print((tree / "pytest.log").read_text(), "the tests fail before anything is planted", file=sys.stderr)
            return 2
        print(f"the tests pass before anything is planted ({time.perf_counter() - begin:.0f} s)", flush=True)
        results = [_try(mutant, tree) for mutant in mutants]
    wrong = sum(not fine for fine, _ in results)
    caught = sum(result in (CAUGHT, HANGS) for _, result in results)
    print(f"caught {caught} of {len(mutants)}, {100 * caught / len(mutants):.0f} %; not as listed: {wrong}")
    return 1 if wrong else 0


def _try(mutant: Mutant, tree: Path) -> tuple[bool, str]:
    """Whether a change fared as its entry says, and how it fared."""
    begin = time.perf_counter()
    with planted(mutant, tree):
        result = outcome(run_tests(tree, mutant.tests, SECONDS))
    fine = result == SURVIVED if mutant.survives else result in (CAUGHT, HANGS)
    reason = f" as listed: {mutant.survives}" if mutant.survives and fine else ""
    print(f"{result}{reason} ({time.perf_counter() - begin:.0f} s): {mutant.name}", flush=True)
    if result == BROKEN:
        print((tree / "pytest.log").read_text()[-2000:])
    return fine, result


if __name__ == "__main__":
    sys.exit(main())
