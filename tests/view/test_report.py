"""The report of a run: what stands on the page, that it is safe to open, and the page in a real browser."""

import base64
import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import needs_browser, open_page

from sacbrax import config as config_lib
from sacbrax import report
from sacbrax.config import ConfigError
from sacbrax.policy_file.files import PRETRAINED
from sacbrax.policy_file.numpy_policy import NumpyPolicy, load

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The pretrained swimmer as the result of a run, with an unfriendly name in its files."""
    directory = tmp_path / "my <run>"
    (directory / "checkpoints").mkdir(parents=True)
    shutil.copy(PRETRAINED / "swimmer.npz", directory / "checkpoints" / "best_policy.npz")
    config = config_lib.from_mapping(
        {"algorithm": {"gamma": 0.875}, "network": {"hidden_sizes": [64, 64]}, "logging": {"wandb_project": HOSTILE}}
    )
    (directory / "config.yaml").write_text(config.to_yaml())
    rows = [
        {
            "env_steps": 1000 * t,
            "gradient_steps": 10 * t,
            "wall_seconds": 2.0 * t,
            "eval/return_mean": 30.0 * t,
            "eval/return_std": 2.0,
            "train/critic_loss": None if t == 0 else 1.0 / t,
            f"diag/{HOSTILE}": 0.5,
            "train/faults": 0.0,
        }
        for t in range(12)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {
        "device": HOSTILE,
        "versions": {"jax": "0.10.2"},
        "git_revision": "abc123",
        "wall_seconds": 22.0,
        "hardware": {"processor": "a fast one", "devices": ["cpu", "cpu"]},
        "interrupted": False,
    }
    (directory / "summary.json").write_text(json.dumps(summary))
    return directory


def test_the_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(run), "--engines", "gymnasium", "--episodes", "2"]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    text = (run / "report.html").read_text(encoding="utf-8")
    parts = ("330.0", "11,000", "abc123", "a fast one", "0.10.2", "algorithm.<wbr>gamma", "0.875", "my &lt;run")
    for part in (*parts, "64, 64", "loss of the critics", "There were no faults of the simulation."):
        assert part in text, part
    assert "[&#x27;" not in text, "no Python"
    assert text.count("<svg") == 3 + 2, "the return against three axes, and two diagnostics"
    assert 'class="player"' in text
    (mean,) = re.findall(r"C MuJoCo</td><td[^>]*>([0-9.]+)</td>", text)
    assert float(mean) == pytest.approx(362.6, abs=4)
    assert HOSTILE not in text
    for address in ("src=", "@import", "url(http", '<link rel="style'):
        assert address not in text, "the page loads nothing"


@needs_browser
def test_the_page_in_a_browser(run: Path) -> None:
    assert report.main([str(run), "--engines", "--episodes", "2"]) == 0
    picture, console = open_page(run / "report.html", 1200, 3000)
    assert console == []
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    assert ((red > 220) & (blue < 100)).sum() > 2000, "the swimmer"
    assert ((red == 31) & (green == 119) & (blue == 180)).sum() > 500, "the curves"


def test_an_engine_that_cannot_run_says_why(run: Path) -> None:
    found = load(run / "checkpoints" / "best_policy.npz")
    other = NumpyPolicy(found.header | {"env": found.header["env"] | {"links": 5}}, found.arrays)
    args = report.parse([str(run), "--engines", "gymnasium"])
    assert "no Gymnasium twin" in report.evaluations(other, args)


def test_the_configuration_is_one_click_and_names_no_folder_of_ours(run: Path) -> None:
    config = config_lib.from_mapping({"algorithm": {"gamma": 0.875}, "run": {"dir": "/home/me/secret"}})
    (run / "config.yaml").write_text(config.to_yaml())
    text = report.reproduce(run, {"git_revision": "abc123"}) + report.configuration(run)
    commands = "git checkout abc123\npython -m sacbrax.train config.yaml run.dir='runs/my <run>-again'"
    assert html.escape(commands) in text
    (encoded,) = re.findall('base64,([^"]+)', text)
    saved = run.parent / "config.yaml"
    saved.write_bytes(base64.b64decode(encoded))
    assert config_lib.load(saved).algorithm.gamma == 0.875
    assert "secret" not in text + saved.read_text()


def test_a_damaged_summary_is_no_absent_run(run: Path) -> None:
    (run / "summary.json").write_text("{")
    with pytest.raises(ConfigError, match=r"summary\.json is damaged; the run's own command"):
        report.read_summary(run)


def test_an_interrupted_run_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads((run / "summary.json").read_text()) | {"interrupted": True}
    (run / "summary.json").write_text(json.dumps(summary))
    assert report.main([str(run), "--engines"]) == 0
    assert "goes on with the same command" in (run / "report.html").read_text(encoding="utf-8")
    said = capsys.readouterr().err.splitlines()
    assert said == ["drawing the curves ...", "playing an episode ...", "drawing the diagnostics ..."]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nowhere"], "nowhere"),
        (["RUN", "--episodes", "0"], "--episodes"),
        (["RUN", "--engines", "unreal"], "unreal"),
        (["RUN", "--out", "page.txt"], "--out: page.txt must end in .html"),
        (["RUN", "--engines", "--out", "/proc/x.html"], "--out"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    run: Path, arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([argument.replace("RUN", str(run)) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error:")
    assert error.count("\n") == 1
    assert word in error
