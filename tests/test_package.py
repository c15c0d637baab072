"""The package as a user gets it: shipped configurations by name, the `sacbrax` command, the wheel in a clean place."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import sacbrax
from sacbrax import __main__ as command
from sacbrax import config as config_lib

ROOT = Path(__file__).parent.parent
SHRUNK = ["env.num_envs=4", "env.episode_length=6", "replay.capacity=512", "network.hidden_sizes=[8]"]
SHRUNK += ["train.batch_size=8", "train.exploration_env_steps=16", "train.total_env_steps=32", "eval.episodes=2"]


@pytest.mark.parametrize("name", ["swimmer", "swimmer.yaml", "configs/swimmer.yaml"])
def test_shipped_configurations_have_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_lib.load(name) == config_lib.load(ROOT / "configs" / "swimmer.yaml")
    assert config_lib.load("paper/swimmer_rllab_gmm").policy.components == 4


def test_a_file_of_ones_own_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("swimmer").mkdir()
    assert config_lib.load("swimmer").env.num_envs == 256, "a folder is no configuration"
    Path("swimmer.yaml").write_text("env: {num_envs: 7}")
    assert config_lib.load("swimmer.yaml").env.num_envs == 7


def test_an_unknown_name_lists_the_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("swimer", "swimmer.txt", "other/swimmer.yaml"):
        with pytest.raises(config_lib.ConfigError, match=r"did you mean swimmer\? shipped are .*swimmer_mjx"):
            config_lib.load(name)


def test_only_what_can_be_trained_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps and studies are shipped too, for another command."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(config_lib.ConfigError) as caught:
        config_lib.load("absent")
    listed = str(caught.value).partition("shipped are ")[2].split(", ")
    others = set(config_lib.shipped_configs()) - set(listed)
    assert {"scaling", "sweeps/swimmer_rates", "sweeps/swimmer_population"} <= others
    assert all(name == "scaling" or name.startswith("sweeps/") for name in others)
    assert all(config_lib.load(name) for name in listed)


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["sacbrax"])  # the command changes it, and the search path
    monkeypatch.setattr(sys, "path", [*sys.path])
    return command.main(arguments)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # of pytest's process, which has them
def test_the_command_finds_the_doors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in command.available():
        with pytest.raises(SystemExit) as leaving:
            run_command(monkeypatch, name, "--help")
        assert leaving.value.code == 0
        assert f"usage: python -m sacbrax.{name}" in capsys.readouterr().out


def test_the_command_by_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"sacbrax {sacbrax.__version__}\n"
    assert run_command(monkeypatch, "trian") == 2
    assert "choose from train" in capsys.readouterr().err
    assert run_command(monkeypatch) == 0
    assert "sacbrax COMMAND" in capsys.readouterr().out


def test_one_version() -> None:
    assert f"## {sacbrax.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f'version: "{sacbrax.__version__}"' in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_constraints_cover_every_extra() -> None:
    """What pyproject.toml names has an exact version in constraints.txt; the accelerators' own packages have none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra, packages in project["optional-dependencies"].items():
        wanted += packages if not extra.startswith("cuda") else []
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    names = {re.split(r"[\[<>=!~; ]", package)[0].lower() for package in wanted}
    assert {name for name in names if name != "sacbrax"} <= pinned


def test_the_dockerfile_copies_and_installs_what_there_is() -> None:
    """What hadolint cannot know; it lints the file in CI."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    sent = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for word in line.split()]
    assert sorted(copied) == sorted(sent)
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name for line in re.findall(r"extras=\"?([\w,]+)", text) for name in line.strip(",").split(",")}
    assert {"plot", "video"} <= extras <= set(project["optional-dependencies"])
    assert json.loads(re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[1]) == list(project["scripts"])
    assert "python:3.11-" in text, "for which constraints.txt was made"
    drawn_with = re.search(r"apt-get install -y --no-install-recommends ([^\\]*) ", text)[1]
    assert drawn_with in (ROOT / ".ci" / "run").read_text()


@pytest.mark.slow
def test_the_wheel_trains_in_a_clean_environment(tmp_path: Path) -> None:
    """Build, look inside, install without the repository in sight, run the main job, evaluate and load its policy."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "XLA_FLAGS")}
    env |= {
        "SOURCE_DATE_EPOCH": "1800000000",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
    }

    def run(*words: str | Path) -> str:
        done = subprocess.run([str(w) for w in words], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (source,) = (tmp_path / "dist").glob("*.tar.gz")
    # The same bytes from the source archive, as above, and from the repository.
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "again", ROOT)
    assert wheel.read_bytes() == (tmp_path / "again" / wheel.name).read_bytes()
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {"sacbrax/py.typed", "sacbrax/policy_file/pretrained/swimmer.npz"} <= packed
    assert {f"sacbrax/configs/{name}.yaml" for name in config_lib.shipped_configs()} <= packed
    assert not {name for name in packed if name.startswith(("tests", "docs"))}
    top = f"sacbrax-{sacbrax.__version__}"
    expected = {f"{top}/{name}" for name in ("LICENSE", "README.md", "CHANGELOG.md", "configs/swimmer.yaml")}
    with tarfile.open(source) as archive:
        assert expected <= set(archive.getnames())

    venv.create(tmp_path / "venv", with_pip=True)
    bin_ = tmp_path / "venv" / "bin"
    run(bin_ / "pip", "install", "--quiet", f"jax=={version('jax')}", wheel)
    run(bin_ / "sacbrax", "train", "swimmer", *SHRUNK, "run.dir=mine")
    summary = json.loads((tmp_path / "mine" / "summary.json").read_text())
    assert summary["versions"]["sacbrax"] == sacbrax.__version__
    assert summary["git_revision"] is None
    assert "2 episodes" in run(bin_ / "sacbrax", "evaluate", "mine", "--episodes", "2")
    code = "import sacbrax; print(sacbrax.__file__, sacbrax.load_policy('swimmer')([0.0] * 8).shape)"
    printed = run(bin_ / "python", "-c", code)
    assert printed.startswith(str(tmp_path / "venv"))
    assert printed.endswith("(2,)\n")
