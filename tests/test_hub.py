"""Runs on the Hugging Face Hub, against a server on this machine that speaks as much of its HTTP as that takes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_hub import FakeHub, fake_hub

from sacbrax import hub as door
from sacbrax.policy_file.files import find, load_policy
from sacbrax.policy_file.hub import split
from sacbrax.policy_file.numpy_policy import PolicyFileError
from sacbrax.view.runs import portable_config

TOKEN = "hf_" + "secret" * 5
RUN = Path(__file__).parent / "support" / "data" / "run"
# Several commands in one process, which knows the server by its environment from the beginning: exit statuses.
COMMANDS = "import json, sys; from sacbrax import hub; print([hub.main(line) for line in json.loads(sys.argv[1])])"


@pytest.fixture
def server() -> Iterator[FakeHub]:
    pytest.importorskip("huggingface_hub")
    with fake_hub() as serving:
        yield serving


def environment(server: FakeHub, folder: Path) -> dict[str, str]:
    return os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "hf"), "HF_TOKEN": TOKEN}


def python(server: FakeHub, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line, variables = [sys.executable, *arguments], environment(server, folder)
    return subprocess.run(line, env=variables, cwd=folder, capture_output=True, text=True, timeout=120)


def test_there_and_back(server: FakeHub, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    (run / "notes.txt").write_text("nobody's business")
    lines = [
        ["push", str(run), "me/swimmer", "--private"],
        ["pull", "me/swimmer", "--out", "back"],
        ["pull", "me/swimmer", "--out", "back"],
        ["pull", "me/absent", "--out", "absent"],
    ]
    done = python(server, tmp_path, "-c", COMMANDS, json.dumps(lines))
    assert set(server.unknown) <= {"GET /api/agent-harnesses"}, "which huggingface_hub asks for by itself"
    first, second, statuses = done.stdout.splitlines()
    assert (first, second, statuses) == (f"{server.url}/me/swimmer", "back", "[0, 0, 2, 2]"), done.stderr
    exists, absent = done.stderr.splitlines()
    assert exists.startswith("error: --out: cannot make back: ")
    assert absent.startswith("error: me/absent: there is no such repository")
    assert not (tmp_path / "absent").exists()

    files = server.repositories["me/swimmer"]
    assert set(files) == set(door.FILES), "and nothing else of the directory"
    assert server.private == {"me/swimmer": True}
    for name in ("checkpoints/best_policy.npz", "metrics.jsonl", "summary.json"):
        assert files[name] == (run / name).read_bytes() == (tmp_path / "back" / name).read_bytes()
    assert files["config.yaml"].decode() == portable_config(run)
    assert "dir: null" in files["config.yaml"].decode()
    assert files["curve.png"].startswith(b"\x89PNG")

    assert server.tokens - {""} == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout + done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in written), "it is nobody's to keep"
    assert not any(TOKEN.encode() in content for content in files.values())


def test_a_policy_by_its_name_there(server: FakeHub, tmp_path: Path) -> None:
    server.repositories["you/policy"] = {
        "checkpoints/best_policy.npz": (RUN / "checkpoints/best_policy.npz").read_bytes()
    }
    server.repositories["you/other"] = {}
    script = """
import sacbrax
from sacbrax.policy_file.numpy_policy import PolicyFileError
print(sacbrax.load_policy("hf:you/policy")([[0.5] * 2]).tolist())
for name in ("hf:you/other", "hf:you/policy@old", "hf:nobody"):
    try:
        sacbrax.load_policy(name)
    except PolicyFileError as error:
        print(error)
"""
    done = python(server, tmp_path, "-c", script)
    action, other, old, nobody = done.stdout.splitlines()
    np.testing.assert_allclose(json.loads(action), load_policy(RUN)(np.full((1, 2), 0.5)))
    assert other == "hf:you/other: the repository has no checkpoints/best_policy.npz"
    assert old.startswith("hf:you/policy@old: ")
    assert nobody == "hf:nobody: expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION"


def test_the_card() -> None:
    text = door.contents(RUN, "me/swimmer")["README.md"].decode()
    _, head, body = text.split("---\n", 2)
    found = yaml.safe_load(head)
    (result,) = found["model-index"][0]["results"]
    rows = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["eval/return_mean"])
    assert result["metrics"][0]["value"] == f"{best['eval/return_mean']:.2f} +/- {best['eval/return_std']:.2f}"
    assert found["library_name"] == "sacbrax"
    assert 'sacbrax.load_policy("hf:me/swimmer")' in body
    assert "![return of an episode while training](curve.png)" in body
    assert portable_config(RUN) in body


def test_the_card_of_several_seeds_is_about_the_policy_that_is_shared(tmp_path: Path) -> None:
    """The best seed's at its best evaluation, not the mean over all."""
    header = load_policy(RUN).header
    shutil.copytree(RUN, tmp_path / "run")
    rows = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        here = row["env_steps"] == header["env_steps"]
        row["eval/return_mean"] = -5.0 if here else -4.0
        row |= {"seed_0/eval/return_mean": -99.0, "seed_0/eval/return_std": 0.5, "seed_1/eval/return_std": 0.25}
        row["seed_1/eval/return_mean"] = header["eval/return_mean"] if here else -90.0
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = door.contents(tmp_path / "run", "me/swimmer")["README.md"].decode()
    assert f"value: {header['eval/return_mean']:.2f} +/- 0.25" in text
    assert f"| environment steps to it | {header['env_steps']:,} |" in text
    assert "| seeds | 2, of which this is the best |" in text


@pytest.mark.parametrize("name", ["", "hf:", "a", "a/b/c", "/b", "a/"])
def test_a_name_has_two_parts(name: str) -> None:
    prefix = "hf:" if name.startswith("hf:") else ""  # what the user wrote
    with pytest.raises(PolicyFileError, match=f"expected {prefix}OWNER/NAME or"):
        split(name)


def test_a_revision(capsys: pytest.CaptureFixture[str]) -> None:
    assert split("hf:a/b@v1.0") == ("a/b", "v1.0")
    assert split("a/b") == ("a/b", None)
    assert door.main(["push", str(RUN), "a/b@v1.0"]) == 2
    assert "a push makes the newest version; leave @v1.0 out" in capsys.readouterr().err


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(PolicyFileError, match=r"not installed; pip install 'sacbrax\[hub\]'"):
        find("hf:me/swimmer")


@pytest.mark.parametrize(
    "arguments", [[], ["push"], ["push", "nowhere", "a/b"], ["push", str(RUN), "ab"], ["pull", "ab"]]
)
def test_a_mistake_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error:")
    assert error.count("\n") == 1
