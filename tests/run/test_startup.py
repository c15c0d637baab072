"""Start-up: what an import costs, and the time from the command to the first update."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

IMPORT = """
import sys, time
begin = time.process_time()
import sacbrax
print(time.process_time() - begin)
import sacbrax.run.loop, sacbrax.evaluate, sacbrax.bench.train
from jax.extend import backend
from jax._src import xla_bridge
assert not xla_bridge._backends, "an import touched a device"
backend.get_backend()
assert xla_bridge._backends, "the test would not see it"
"""


def test_import_is_quick_and_touches_no_device() -> None:
    """Seconds of computing, which a busy machine does not lengthen much. Nor do the imports of the doors touch one."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2.0


@pytest.mark.slow
def test_training_starts_soon(tmp_path: Path) -> None:
    """Command to the end of the first training call of configs/swimmer.yaml; needs an idle machine."""
    seconds = {}
    for name in ("cold", "warm"):
        run = tmp_path / name
        command = [sys.executable, "-m", "sacbrax.train", "configs/swimmer.yaml", "--quiet", f"run.dir={run}"]
        command += ["train.total_env_steps=26112", "eval.every_env_steps=256", "checkpoint.full=false"]
        begin = time.perf_counter()
        env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XLA_FLAGS": ""}
        subprocess.run(command, check=True, env=env, cwd=Path(__file__).parents[2])
        seconds[name] = time.perf_counter() - begin
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert rows[-1]["gradient_steps"] == 2
    print(seconds)
    assert seconds["cold"] < 30
    assert seconds["warm"] < 10
