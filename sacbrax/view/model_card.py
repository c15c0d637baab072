"""What a stranger is told about a run that is shared: a model card, README.md with Hugging Face's metadata on top."""

import json
from pathlib import Path
from typing import Any

import yaml

from sacbrax.view import curves
from sacbrax.view.metrics import RETURN, read_metrics
from sacbrax.view.runs import portable_config

CURVE = "curve.png"


def card(run: Path, name: str, summary: dict[str, Any]) -> str:
    """The card of a run that is shared as `name`. Raises ConfigError where it has no evaluation."""
    rows, settings = read_metrics(run), curves.read_settings(run)
    best = max(rows, key=lambda row: row[RETURN])
    task, algorithm = str(settings.get("env.name", "unknown")), str(settings.get("algorithm.name", "sac"))
    spread = best.get("eval/return_std")
    reward = f"{best[RETURN]:.2f}" + ("" if spread is None else f" +/- {spread:.2f}")
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
{_table(rows, best, reward, summary)}

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


def _table(rows: list[dict[str, Any]], best: dict[str, Any], reward: str, summary: dict[str, Any]) -> str:
    versions = summary.get("versions") or {}
    lines = {
        "best mean return of an evaluation": f"{reward}, the deviation over its episodes",
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
