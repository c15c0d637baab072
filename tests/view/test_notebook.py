"""The notebook: stored without outputs, calls the package alone, and runs from top to bottom, also a second time."""

import json
from pathlib import Path

import nbformat
import pytest

from sacbrax import notebook
from sacbrax.core.errors import RunError

PATH = Path(__file__).parents[2] / "notebooks" / "swimmer_colab.ipynb"
SMALL = (
    "env.num_envs=4 env.episode_length=20 replay.capacity=512 network.hidden_sizes=[8] train.batch_size=8 "
    "algorithm.n_step=1 train.exploration_env_steps=16 eval.every_env_steps=40 eval.episodes=2 "
    "checkpoint.every_env_steps=40"
)


def test_it_is_stored_without_outputs() -> None:
    stored = nbformat.read(PATH, as_version=4)
    nbformat.validate(stored)
    for cell in stored.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def test_a_failure_is_in_the_commands_own_words(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    with pytest.raises(RunError, match=r"error: train\.sed: unknown key; did you mean seed"):
        notebook.train("swimmer", tmp_path / "run", ["train.sed=1"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_it_runs_and_goes_on_after_a_disconnect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("SACBRAX_SOURCE", "")
    monkeypatch.setenv("SACBRAX_RUN_DIR", str(tmp_path / "run"))
    lines = tmp_path / "run" / "metrics.jsonl"
    for steps in (100, 180):  # the second time everything is new but the folder
        monkeypatch.setenv("SACBRAX_OVERRIDES", f"{SMALL} train.total_env_steps={steps}")
        book = nbformat.read(PATH, as_version=4)
        NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
        rows = [json.loads(line) for line in lines.read_text().splitlines()]
        assert steps <= rows[-1]["env_steps"] < steps + 40
        assert [row["env_steps"] for row in rows] == sorted({row["env_steps"] for row in rows})
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "the curve"
    assert "\x1b" not in "".join(output.get("text", "") for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs), "no warnings"
    assert any("iframe" in output.get("data", {}).get("text/html", "") for output in outputs), "the episode"
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "swim.html").exists()
