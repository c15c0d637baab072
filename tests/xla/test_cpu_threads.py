"""One thread where arrays are small, a client that has as many as are asked for, and a user with the last word."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sacbrax.config import Config
from sacbrax.xla.cpu_threads import client_with, threads

COUNT = """
import sys
from pathlib import Path
from sacbrax import cli, config
cli.prepare_jax(config.load("swimmer", sys.argv[1:]))
names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
print(names.count("tf_XLAEigen"))
"""


def test_small_arrays_have_one_thread(tiny: Callable[..., Config]) -> None:
    enough = ("train.exploration_env_steps=2048", "replay.capacity=2048", "train.total_env_steps=4096")
    wide = (*enough, "train.batch_size=1024", "network.critic_hidden_sizes=[8,32]")
    assert threads(tiny(), "fused") == 1
    assert threads(tiny(*wide), "fused") is None
    assert threads(tiny(*wide, "train.batch_size=512"), "fused") == 1
    assert threads(tiny(*wide, "train.batch_size=512", "train.num_seeds=2"), "fused") is None
    assert threads(tiny(), "mjx") is None
    assert threads(tiny(*enough, "env.num_envs=512"), "fused") is None
    assert threads(tiny(*enough, "env.num_envs=511"), "fused") == 1
    assert threads(tiny(*wide, "parallel.threads=3"), "mjx") == 3


def test_the_environment_wins_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPROC", raising=False)
    with client_with(2):
        assert os.environ["NPROC"] == "2"
    assert "NPROC" not in os.environ
    monkeypatch.setenv("NPROC", "5")
    with client_with(2):
        assert os.environ["NPROC"] == "5"
    assert os.environ["NPROC"] == "5"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted as Linux shows them")
@pytest.mark.parametrize(
    ("overrides", "environment", "count"),
    [((), {}, 1), (("parallel.threads=3",), {}, 3)],
)
def test_the_client_has_so_many(overrides: tuple[str, ...], environment: dict[str, str], count: int) -> None:
    """Whatever was imported before."""
    clean = {key: value for key, value in os.environ.items() if key != "NPROC"} | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", COUNT, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, env=clean | environment)
    assert done.stdout == f"{count}\n", done.stderr
