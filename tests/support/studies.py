"""A study's file for tests, and what stands for its processes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tiny_config import TINY

# Prints a result, or writes the log of a run.
SCRIPT = """
echo "$*" >> {folder}/started
for word; do case "$word" in run.dir=*) run="${{word#run.dir=}}";; esac; done
case "$*" in
*"bench roofline"*) echo '{roof}';;
*"bench train"*) echo "compiling" >&2; echo '{rates}';;
*)  mkdir -p "$run"
    echo '{{"best_return": 6.0, "compile_seconds": 2.0}}' > "$run/summary.json"
    printf '{rows}' > "$run/metrics.jsonl"
    {end};;
esac
"""
LINE = '{{"env_steps": {0}, "gradient_steps": {0}, "wall_seconds": {0}.0, "eval/return_mean": {1}}}\\n'


def write_study(folder: Path, **scale: Any) -> Path:
    """A study of the tiny configuration with one scale, cpu."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    path = folder / "study.yaml"
    keys = {"study": "scaling", "base": "tiny.yaml", "scales": {"cpu": scale}, "repeats": 2, "seconds": 0.05}
    path.write_text(yaml.safe_dump(keys | {"dir": str(folder / "out")}))
    return path


def processes(
    folder: Path,
    returns: Sequence[str],
    end: str,
    roof: Mapping[str, Any] | None = None,
    rates: Mapping[str, Any] | None = None,
) -> str:
    """A shell script: a run has an evaluation each second with these returns, and then does `end`. What was started is
    in the folder's file `started`."""
    rows = "".join(LINE.format(i + 1, value) for i, value in enumerate(returns))
    roof, rates = roof or {"matmul_flops_per_second": 1.0}, rates or {"env_steps_per_second": 2.0}
    rows += '{"env_st'  # a line that is being written
    return SCRIPT.format(folder=folder, roof=json.dumps(roof), rates=json.dumps(rates), rows=rows, end=end)
