"""Every command of the README and the documentation is tried: by default its arguments, with `-m slow` the whole of it,
shrunk. And every number of the README stands in docs/benchmarks.md."""

import functools
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sacbrax
from sacbrax import __main__ as overview
from sacbrax import config as config_lib
from sacbrax import train
from sacbrax.run.loop import run as run_training

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"(?:python -m sacbrax(?:\.(\w+))?|sacbrax)(?: (.*))?$")
# Programs that are tried elsewhere, or on purpose not.
ELSEWHERE = {
    "pip install": ".ci/run and test_package install",
    "pre-commit install": "changes the user's git hooks",
    "pytest": ".ci/run; a test suite that runs itself would not end",
    "bash .ci/run": "it is what runs this",
    "ruff ": ".ci/run",
    "mypy": ".ci/run",
    "source ": "the shell's own",
    "sphinx-build": ".ci/run and test_docs",
    "python -m venv": "test_package makes one",
    "python -m build": "test_package builds",
    "python -m tests.mutate": "test_proof, on a tree of its own and on a sample",
    "python -m tests.soak": "test_long_runs, for a minute",
    "python tests/support/make_data.py": "writes the data that test_compatibility reads",
    "python examples/deploy_onnx.py": "test_deploy, with observations of its own",
    "python docs/make_algorithms.py": "test_presets compares its page",
    "python docs/make_configuration.py": "test_docs compares its page",
    "python docs/make_learning_curve.py": "test_docs draws another run",
    "python docs/make_release_notes.py": "test_docs, for other versions",
    'python -c "import fsspec': "test_mirror, with another file system",
}
SHRUNK = ["env.num_envs=4", "env.episode_length=6", "replay.capacity=512", "network.hidden_sizes=[8]"]
SHRUNK += ["train.batch_size=8", "train.exploration_env_steps=16", "train.total_env_steps=32", "eval.episodes=2"]
SHRUNK += ["eval.every_env_steps=16", "run.compilation_cache=false", "train.updates_per_step=1"]


def lines_with_commands(page: Path) -> list[str]:
    """Lines of fenced and indented blocks, and inline code, that start with a program."""
    text = page.read_text(encoding="utf-8")
    code = "".join(body for language, body in FENCE.findall(text) if language in ("", "bash", "console"))
    prose = FENCE.sub("", text)
    code += "\n".join(re.findall(r"^ {4}(\S.*)$", prose, re.MULTILINE))
    lines = [line.removeprefix("$ ").strip() for line in code.replace("\\\n", " ").splitlines()]
    lines += [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose)]
    programs = ("python ", "sacbrax ", "pip ", "pytest", "bash ", "ruff ", "mypy", "sphinx-build", "pre-commit ")
    return [line for line in lines if line.startswith(programs)]


def commands() -> list[tuple[str, str]]:
    """(page, command); parts joined by && are commands of their own."""
    found = {}
    for page in PAGES:
        for line in lines_with_commands(page):
            for part in line.split("&&"):
                found[re.sub(r"\s+#.*", "", part).strip().replace("\\|", "|")] = page.name
    return [(page, command) for command, page in found.items()]


OWN = [command for _, command in commands() if OURS.match(command)]
WRONG = {"python -m sacbrax.train configs/swimmer.yaml train.batchsize=64": "train.batchsize: unknown key"}
# Of what may follow, not to be typed: brackets, alternatives, CONFIG.yaml, OVERRIDES, or a command's bare name.
BARE = re.compile(r"(python -m )?sacbrax(\.\w+| \w+)?")
USAGE = [command for command in OWN if re.search(r"[\[|{]|\.\.\.|[A-Z]{4,}", command) or BARE.fullmatch(command)]
CALLS = [command for command in OWN if command not in USAGE and command not in WRONG]


def test_the_pages_have_commands() -> None:
    assert len(CALLS) > 15
    assert "python -m sacbrax.train configs/swimmer.yaml run.dir=runs/first" in CALLS


def test_other_programs_are_tried_elsewhere() -> None:
    others = [command for _, command in commands() if not OURS.match(command)]
    known = (*ELSEWHERE, "python -m", "python")  # these two alone are words of a sentence
    assert not [command for command in others if not command.startswith(tuple(ELSEWHERE)) and command not in known]


def module_of(name: str) -> Any:
    """What `python -m sacbrax.NAME` runs."""
    package = (ROOT / "sacbrax" / name).is_dir()
    return importlib.import_module(f"sacbrax.{name}.__main__" if package else f"sacbrax.{name}")


def door(command: str) -> tuple[Any, list[str]]:
    """The module behind a command and the arguments it is given."""
    match = OURS.match(command)
    assert match
    name, words = match[1], shlex.split(match[2] or "", comments=True)
    if name is None:
        name, *words = words
    return module_of(name), words


def settled(words: list[str], run: Path, out: Path) -> list[str]:
    """Arguments with the reader's own places filled in: a run that exists, files that may be written."""
    settled: list[str] = []
    for word in words:
        word = re.sub(r"(?<![A-Za-z])S$", "0", word)  # train.seed=S, runs/sS
        if settled and settled[-1] == "--out":
            word = str(out / Path(word).name)
        elif word.startswith("run.dir="):
            word = f"run.dir={out / 'new'}"
        elif word.startswith("checkpoint.mirror="):
            word = f"checkpoint.mirror={out / 'mirror'}"
        elif word == "RUN" or word.startswith("runs/"):
            word = str(run)
        settled.append(word)
    return settled


@pytest.mark.parametrize("command", USAGE)
def test_usage_names_what_there_is(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A usage line names a command that exists and options that its --help has."""
    name = re.split(r"[ .]", command.removeprefix("python -m ").removeprefix("sacbrax"))[1:2]
    if not name or name[0] in ("COMMAND", ""):
        return
    assert name[0] in overview.available(), command
    options = set(re.findall(r"--[a-z][a-z-]*", command))
    if name[0] == "bench" or not options:
        return
    with pytest.raises(SystemExit):
        module_of(name[0]).parse(["--help"])
    assert options <= set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out)), command


@pytest.mark.parametrize("command", CALLS)
def test_arguments_are_valid(command: str, tmp_path: Path) -> None:
    module, words = door(command)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    words = settled(words, tmp_path / "run", tmp_path)
    if any(word == "reach.yaml" for word in words):
        pytest.skip("docs/extend.md's own file: test_docs writes it and trains with it")
    args = module.parse(words)
    if module is train:
        train.configure(args)
    elif module.__name__ == "sacbrax.bench.__main__" and hasattr(args[1], "config"):
        config_lib.load(args[1].config, args[1].overrides)


@pytest.mark.parametrize("command", WRONG)
def test_mistakes_are_answered(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command in OWN
    module, words = door(command)
    assert module.main(words) == 2
    assert WRONG[command] in capsys.readouterr().err


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of swimmer.yaml, shrunk, with three seeds for `--seed-index`."""
    out = tmp_path_factory.mktemp("commands") / "run"
    run_training(config_lib.load("swimmer", [*SHRUNK, "train.num_seeds=3", f"run.dir={out}"]), quiet=True)
    return out


def shrunk(module: Any, words: list[str]) -> list[str]:
    """Arguments that make a command take seconds; the last of two wins."""
    name = module.__name__.removeprefix("sacbrax.")
    if name == "train":
        words = [re.sub(r"^parallel\.devices=.*", "parallel.devices=all", word) for word in words]
        return [*words, "train.total_env_steps=48"] if "--resume" in words else [*words, *SHRUNK]
    if name == "sweep.__main__":
        words = [*words, *(override for override in SHRUNK if "hidden" not in override)]
        if any("halving" in word for word in words):  # trials are judged at their second evaluation
            return [*words, "trials=2", "train.total_env_steps=80"]
        return [*words, "trials=4" if any("population" in word for word in words) else "trials=2"]
    if name in ("evaluate", "report"):
        return [*words, "--episodes", "2"]
    if name == "plot" and "q_surface" in words:
        return [*words, "--steps", "0", "3"]
    if name == "render":
        return [*words, "--steps", "4"]
    if name == "bench.__main__" and words[0] == "peers":
        return [*words, *["--peers", "sacbrax", "--scenarios", "A", "--cap", "0", "--passes", "1", "--chunk", "64"]]
    if name == "bench.__main__":
        own = {"tasks": ["--tasks", "inverted_pendulum", "--repeats", "1"]}
        own["cost"] = []
        own["suite"] = ["--tasks", "inverted_pendulum", "--seconds", "0.5"]
        own["parity"] = ["--tasks", "inverted_pendulum_v5", "--states", "2"]
        if words[0] in own:
            return [*words, *own[words[0]]]
        more = {"physics": ["--num-envs", "64"], "train": SHRUNK}.get(words[0], [])
        return [*words, *more, "--repeats", "1", "--seconds", "0.05"]
    return words


def run_alone(module: Any, words: list[str]) -> int:
    """Exit status of a command in a process of its own, as a shell would start it."""
    name = module.__name__.removesuffix(".__main__")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", name, *words], env=environment, check=False).returncode


@pytest.mark.slow
@pytest.mark.parametrize("command", CALLS)
def test_command_runs(command: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    module, words = door(command)
    if "reach.yaml" in words:
        pytest.skip("docs/extend.md's own file: test_docs writes it and trains with it")
    if "my_module" in command:
        pytest.skip("docs/environments.md's own file; test_environments takes it")
    if any("scaling.yaml" in word for word in words):
        pytest.skip("minutes of measurement; test_scaling runs a small study")
    if module.__name__ == "sacbrax.bench.__main__" and words[0].startswith("gpu"):
        pytest.skip("many minutes on a CPU; test_gpu and test_gpu_plan run it")
    if "parallel.processes" in command:
        pytest.skip("waits for other machines; test_hosts starts two processes")
    if module.__name__ == "sacbrax.watch":
        pytest.skip("serves until Ctrl-C; test_watch starts it")
    if module.__name__ == "sacbrax.hub" or "hf:" in command:
        pytest.skip("asks Hugging Face; test_hub asks another server")
    if "playground" in command:
        pytest.importorskip("mujoco_playground", reason="needs pip install 'sacbrax[playground]'")
    # These set what JAX cannot change once it is in use, or would leave to the next test: devices, flags, precision.
    alone = "parallel.devices" in command or module.__name__ == "sacbrax.bench.__main__"
    start = functools.partial(run_alone, module) if alone else module.main
    assert start(shrunk(module, settled(words, tmp_path / "run", tmp_path))) == 0


def test_python_of_the_readme() -> None:
    """The names that the README's Python uses exist; test_package and test_run use them for real."""
    code = "".join(body for language, body in FENCE.findall((ROOT / "README.md").read_text()) if language == "python")
    names = set(re.findall(r"sacbrax\.(\w+)\(", code))
    assert {"load_config", "train", "load_policy", "make_env"} <= names
    assert all(callable(getattr(sacbrax, name)) for name in names)


# Numbers of the README that are no measurement.
FACTS = {"3.11": "Python", "2": "the major number of an algorithm", "100": "percent", "1": "", "5": "percent"}


def test_numbers_of_the_readme_are_measured() -> None:
    text = FENCE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    text = re.sub(r"`[^`]*`|arXiv:\S+|\]\([^)]*\)|\w+-v5|ICML \d+|SAC-v\d", "", text)
    number = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?")
    measured = {
        found for page in ("benchmarks", "zoo") for found in number.findall((ROOT / f"docs/{page}.md").read_text())
    }
    assert not {found for found in number.findall(text)} - measured - set(FACTS)
