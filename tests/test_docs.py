"""The documentation: it builds without a warning, its pages are current, and what it tells a reader to do works."""

import contextlib
import json
import os
import re
import runpy
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from logs import rows
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def test_the_configuration_page_is_current() -> None:
    """After a change in sections.py: `python docs/make_configuration.py`."""
    code = runpy.run_path(str(ROOT / "docs/make_configuration.py"))
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == code["page"]()


def test_links_lead_somewhere() -> None:
    wrong = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                wrong.append(f"{page.name}: {target}")
    assert not wrong


def test_tests_that_pages_name_are_there() -> None:
    """Files and functions, long names by their beginning."""
    files = list((ROOT / "tests").rglob("test_*.py"))
    known = {file.stem for file in files}
    known |= {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    named = {name for page in PAGES for name in re.findall(r"\btest_\w+", page.read_text(encoding="utf-8"))}
    assert [name for name in sorted(named) if not any(other.startswith(name) for other in known)] == []
    assert len(named) > 50


def test_the_authors_settings_are_those_of_the_files() -> None:
    """The last table of docs/listing.md, and every file of configs/paper."""
    rows = re.findall(r"^\| [^|]+ \| (\d+) \| ([\d,]+) \| (`.*`) \|$", (ROOT / "docs/listing.md").read_text(), re.M)
    said = {
        name: (int(scale), int(steps.replace(",", "")))
        for scale, steps, names in rows
        for name in names[1:-1].split("`, `")
    }
    found = {}
    for path in (ROOT / "configs/paper").glob("*.yaml"):
        settings = yaml.safe_load(path.read_text())
        found[path.name] = (settings["algorithm"]["reward_scale"], settings["train"]["exploration_env_steps"])
        assert settings["network"]["hidden_sizes"] == [256, 256]
    assert said == found


def test_the_learning_curve_draws_every_seed(tmp_path: Path) -> None:
    row = {"env_steps": 10, "seed_0/eval/return_mean": 1.0, "seed_1/eval/return_mean": 2.0}
    (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(row | {'env_steps': 20})}\n")
    code = runpy.run_path(str(ROOT / "docs/make_learning_curve.py"))
    code["draw"](tmp_path, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


CHANGES = """# Changes

## 0.2.0 (2026-12-01)

* New: **bold**.

  ## no heading

## 0.1.0 (not released yet)

* Old.
"""


def test_release_notes_are_the_versions_changes() -> None:
    notes = runpy.run_path(str(ROOT / "docs/make_release_notes.py"))["notes"]
    assert notes("v0.2.0", CHANGES, "0.2.0") == "* New: **bold**.\n\n  ## no heading\n"
    for tag, version, why in (
        ("v0.2.0", "0.3.0", "the tag is v0.2.0, .* has 0.3.0"),
        ("v0.1.0", "0.1.0", "not released"),
        ("v0.3.0", "0.3.0", "no section 0.3.0"),
    ):
        with pytest.raises(ValueError, match=why):
            notes(tag, CHANGES, version)
    done = [sys.executable, str(ROOT / "docs/make_release_notes.py"), "v9.9.9"]
    assert "the tag is v9.9.9" in subprocess.run(done, capture_output=True, text=True).stderr


def test_pictures_of_the_first_screen_move_and_are_small() -> None:
    """As `sacbrax.render` draws them; a reader on a telephone waits for them."""
    text = re.sub(r"<!--.*?-->", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    shown = re.findall(r"docs/static/\w+\.gif", text)
    assert "docs/static/swimmer.gif" in shown
    for name in shown:
        assert (ROOT / name).stat().st_size < 1_000_000
        with Image.open(ROOT / name) as picture:
            assert picture.n_frames > 20
            assert picture.info["loop"] == 0


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert "min_i" in (tmp_path / "algorithm.html").read_text(encoding="utf-8")


def apply_edit(root: Path, text: str) -> None:
    """Make the edit of a block: context and removed lines must stand in the file exactly once."""
    head, *lines = text.rstrip("\n").split("\n")
    path = root / head.removeprefix("# in ").partition(",")[0]
    old = "\n".join(line[1:] for line in lines if line[0] in " -")
    new = "\n".join(line[1:] for line in lines if line[0] in " +")
    source = path.read_text(encoding="utf-8")
    assert source.count(old) == 1, f"docs/extend.md edits what is not, or not only once, in {path.name}:\n{old}"
    path.write_text(source.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with every file and every edit of docs/extend.md."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "sacbrax", root / "sacbrax", ignore=shutil.ignore_patterns("__pycache__"))
    for language, text in blocks(ROOT / "docs/extend.md"):
        if language in ("python", "yaml"):
            name = text.split("\n")[0].removeprefix("# ")
            (root / name).write_text(text, encoding="utf-8")
        elif language == "diff":
            apply_edit(root, text)
    return root


def train(root: Path, config: str, *words: str) -> Path:
    """Train in the copy, shrunk; the run directory."""
    out = root / f"run_{len(list(root.iterdir()))}"
    shrunk = ["env.num_envs=4", "env.episode_length=6", "network.hidden_sizes=[8]", "train.batch_size=8"]
    shrunk += ["train.exploration_env_steps=16", "train.total_env_steps=64", "eval.every_env_steps=48"]
    shrunk += ["replay.capacity=512", "eval.episodes=2", "run.compilation_cache=false", f"run.dir={out}"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-m", "sacbrax.train", config, *shrunk, *words]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_own_task_policy_and_critics(extended: Path) -> None:
    out = train(extended, "reach.yaml", "policy.kind=laplace", "critic.kind=huber", "critic.huber_width=10")
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["critic"].items() >= {"kind": "huber", "huber_width": 10}.items()
    assert config["env"]["kwargs"] == {"force": 3.0}
    code = f"import sacbrax; print(sacbrax.load_policy({str(out)!r})([0.0] * 6).shape)"
    printed = subprocess.run([sys.executable, "-c", code], cwd=extended, capture_output=True, text=True)
    assert printed.stdout == "(2,)\n", printed.stderr


@pytest.mark.slow
def test_own_algorithm_learns(extended: Path) -> None:
    """The best action as a function of what is seen, and the values of a reward that comes later."""
    code = """
import jax, numpy as np
from learners import learn, mode, q_values
from tiny_config import make_tiny
trainer, state = learn(make_tiny, "td3", "Mirror", "algorithm.policy_delay=2", "algorithm.target_update_interval=2")
print(mode(trainer, state, np.array([[-0.8, 0.0], [0.8, 0.0]]))[:, 0].tolist())
trainer, state = learn(make_tiny, "td3", "TwoStep", "algorithm.gamma=0.5")
print(q_values(trainer, state, np.array([[0.3, 0.0], [0.3, 1.0]]), np.zeros((2, 1))).mean(axis=0).tolist())
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(extended), str(ROOT / "tests/support")])}
    done = subprocess.run([sys.executable, "-c", code], cwd=extended, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    actions, values = (json.loads(line) for line in done.stdout.splitlines())
    assert actions[0] < -0.7
    assert actions[1] > 0.7
    assert values == pytest.approx([0.5, 1.0], abs=0.06)


def test_own_sink(extended: Path) -> None:
    out = train(extended, "reach.yaml", "logging.sqlite=true", "algorithm.name=td3")
    with contextlib.closing(sqlite3.connect(out.parent / "runs.db")) as base:
        found = base.execute("SELECT env_steps, row FROM rows WHERE run = ?", (out.name,)).fetchall()
    assert [json.loads(row) for _, row in found] == rows(out)
    assert [env_steps for env_steps, _ in found] == [row["env_steps"] for row in rows(out)]


@pytest.mark.slow
def test_own_engine(extended: Path) -> None:
    train(extended, str(ROOT / "configs" / "swimmer.yaml"), "env.engine=native")


@pytest.mark.slow
def test_own_task_is_learnt(extended: Path) -> None:
    """The example learns: it starts far from the goal and ends near it."""
    out = extended / "learnt"
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "XLA_FLAGS")}
    words = [sys.executable, "-m", "sacbrax.train", "reach.yaml", f"run.dir={out}", "run.compilation_cache=false"]
    done = subprocess.run(words, cwd=extended, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    log = rows(out)
    assert log[-1]["eval/return_mean"] > log[0]["eval/return_mean"] + 10
    assert log[-1]["eval/length_mean"] < 50
