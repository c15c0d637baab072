"""Who went on as whose copy, and with what: lineage.jsonl and lineage.png of a population.

A line is an exchange; the first says what the members began with. Knows no run.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax.core.files import write_atomically
from sacbrax.core.numbers import plain_number
from sacbrax.sweep.pbt import Exchange, Settings, ancestry
from sacbrax.sweep.space import Range, Space
from sacbrax.view.figures import load_matplotlib, save

FILE = "lineage.jsonl"


def write(
    directory: Path, begin: Sequence[Settings], exchanges: Sequence[Exchange], scores: np.ndarray, steps: Sequence[int]
) -> None:
    """lineage.jsonl, with scores [E, P] at env steps [E]."""
    lines: list[dict[str, Any]] = [{"evaluation": 0, "env_steps": steps[0], "settings": list(begin)}]
    for each in exchanges:
        row = each.evaluation
        line = {"evaluation": row, "env_steps": steps[row], "scores": list(map(plain_number, scores[row].tolist()))}
        lines.append(line | {"sources": list(each.sources), "settings": list(each.settings)})
    write_atomically(directory / FILE, "".join(json.dumps(line) + "\n" for line in lines))


def draw(
    directory: Path,
    space: Space,
    begin: Sequence[Settings],
    exchanges: Sequence[Exchange],
    scores: np.ndarray,
    steps: Sequence[int],
    best: int,
) -> Path:
    """lineage.png: scores [E, P] at env steps [E], and every setting of every member; coloured what the best came from.

    Raises `ConfigError` without matplotlib.
    """
    plt = load_matplotlib()
    panels = 1 + len(space)
    figure, axes = plt.subplots(panels, 1, figsize=(7.0, 2.4 * panels), sharex=True, layout="constrained")
    line = ancestry(exchanges, best)
    ends = [steps[0], *(steps[each.evaluation] for each in exchanges), steps[-1]]
    epochs = [begin, *(each.settings for each in exchanges)]  # settings [P] between two ends
    for member in range(len(begin)):
        axes[0].plot(steps, scores[:, member], color="0.75", linewidth=0.8)
    for i, place in enumerate(line):  # the best and its ancestors, each while it was one
        own = [k for k, step in enumerate(steps) if ends[i] <= step <= ends[i + 1]]
        axes[0].plot([steps[k] for k in own], scores[own, place], color="C3")
    axes[0].set_ylabel("score")
    for axis, (key, values) in zip(axes[1:], space.items(), strict=True):
        choices = None if isinstance(values, Range) else list(values)

        def height(settings: Settings, key: str = key, choices: list[Any] | None = choices) -> float:
            return settings[key] if choices is None else choices.index(settings[key])

        for member in range(len(begin)):
            axis.stairs([height(each[member]) for each in epochs], ends, baseline=None, color="0.75", linewidth=0.8)
        heights = [height(each[place]) for each, place in zip(epochs, line, strict=True)]
        axis.stairs(heights, ends, baseline=None, color="C3")
        if isinstance(values, Range):
            axis.set_yscale("log" if values.log else "linear")
        else:
            axis.set_yticks(range(len(values)), [str(value) for value in values])
        axis.set_ylabel(key.rpartition(".")[2])
    axes[-1].set_xlabel("env steps of each agent")
    for axis in axes:
        axis.grid(alpha=0.3)
    out = directory / "lineage.png"
    save(out, lambda: figure.savefig(out, dpi=120))
    plt.close(figure)
    return out
