"""What a stranger is told about a run that is shared: a model card, README.md with Hugging Face's metadata on top."""

import json
from pathlib import Path
from typing import Any

import yaml

from sacbrax.policy_file.files import load_policy
from sacbrax.view import curves
from sacbrax.view.metrics import RETURN, STEPS, read_metrics
from sacbrax.view.runs import portable_config

CURVE = "curve.png"


def card(run: Path, name: str, summary: dict[str, Any]) -> str:
    """The card of a run that is shared as `name`. Raises ConfigError where it has no evaluation."""
    rows, settings = read_metrics(run), curves.read_settings(run)
    row, own = _kept_for(run, rows)
    task, algorithm = str(settings.get("env.name", "unknown")), str(settings.get("algorithm.name", "sac"))
    spread = row.get(own.replace("return_mean", "return_std"))
    reward = f"{row[own]:.2f}" + ("" if spread is None else f" +/- {spread:.2f}")
    metric = {"type": "mean_reward", "name": "mean_reward", "value": reward, "verified": False}
    kind = {"type": "reinforcement-learning", "name": "reinforcement-learning"}
    result = {"task": kind, "dataset": {"type": task, "name": task}, "metrics": [metric]}
    head = {
        "library_name": "sacbrax",
        "tags": ["reinforcement-learning", "soft-actor-critic", algorithm, "jax", task],
        "model-index": [{"name": name.rpartition("/")[2], "results": [result]}],
    }
    return f"""---
{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---

# Soft Actor-Critic on {_code(task)}

Trained with sacbrax, where simulation and learning are one compiled program.

| | |
|---|---|
{_table(run, rows, row, reward, summary)}

![return of an episode while training]({CURVE})

## Use it

```sh
pip install "sacbrax[hub]"
python -m sacbrax.evaluate hf:{name}
python -m sacbrax.render hf:{name} --out episode.html
```

```python
import sacbrax

policy = sacbrax.load_policy("hf:{name}")
action = policy(observation)  # [O] or [B, O], NumPy in and out
```

## Train it again

```sh
python -m sacbrax.hub pull {name} --out fetched
python -m sacbrax.train fetched/config.yaml run.dir=again
```

<details><summary>config.yaml</summary>

```yaml
{portable_config(run) or ""}```

</details>
"""


def _kept_for(run: Path, rows: list[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    """The evaluation for which the policy was kept, and its key there: of several seeds one has its own. Where no row
    is that, the best one."""
    header = load_policy(run).header
    there = [row for row in rows if row[STEPS] == header.get(STEPS)]
    own = [(row, key) for row in there for key in row if key.endswith(RETURN) and row[key] == header.get(RETURN)]
    return own[0] if own else (max(rows, key=lambda row: row[RETURN]), RETURN)


def _table(run: Path, rows: list[dict[str, Any]], best: dict[str, Any], reward: str, summary: dict[str, Any]) -> str:
    versions = summary.get("versions") or {}
    lines = {
        "mean return of its best evaluation": f"{reward}, the deviation over its episodes",
        "seeds": f"{seeds}, of which this is the best" if (seeds := len(curves.seed_names(run, RETURN))) > 1 else "",
        "environment steps to it": f"{best['env_steps']:,}",
        "environment steps in all": f"{rows[-1]['env_steps']:,}",
        "wall time": f"{rows[-1]['wall_seconds']:,.0f} s" if rows[-1].get("wall_seconds") is not None else "",
        "device": str(summary.get("device") or ""),
        "versions": ", ".join(f"{key} {versions[key]}" for key in ("sacbrax", "jax", "mujoco") if key in versions),
    }
    return "\n".join(f"| {key} | {value} |" for key, value in lines.items() if value)


def _code(text: str) -> str:
    """Text that Markdown leaves alone."""
    return f"`{json.dumps(text, ensure_ascii=False)[1:-1].replace('`', '')}`"
