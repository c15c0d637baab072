"""The other numbers of a run as small panels: what belongs together in one, called by its name. Knows no JAX."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sacbrax.view import curves

SECTIONS = ("train/", "diag/", "time/")


@dataclasses.dataclass(frozen=True)
class Panel:
    """Keys of metrics.jsonl that share an axis, with what each is called where there are several."""

    title: str
    lines: Mapping[str, str]


FIRST, SECOND = "first critic", "second critic"
PANELS = (
    Panel("return while training", {"train/episode_return": ""}),
    Panel("reward of a step", {"train/reward_mean": ""}),
    Panel("loss of the critics", {"train/critic_loss": ""}),
    Panel("loss of the actor", {"train/actor_loss": ""}),
    Panel("loss of the state value", {"train/value_loss": ""}),
    Panel("temperature", {"train/temperature": ""}),
    Panel("entropy of the policy", {"train/entropy": ""}),
    Panel(
        "values of a minibatch, mean",
        {"diag/qf1_mean": FIRST, "diag/qf2_mean": SECOND, "diag/vf_mean": "state"},
    ),
    Panel(
        "values of a minibatch, deviation",
        {"diag/qf1_std": FIRST, "diag/qf2_std": SECOND, "diag/vf_std": "state"},
    ),
    Panel("Q while training", {"train/q_mean": ""}),
    Panel("distance of the critics", {"diag/mean_qf_diff": ""}),
    Panel("Bellman error", {"diag/mean_sq_bellman_error1": FIRST, "diag/mean_sq_bellman_error2": SECOND}),
    Panel("log-probability of an action", {"diag/policy_log_prob": ""}),
    Panel("deviation of the policy", {"diag/policy_sigma": ""}),
    Panel("size of the policy's mean", {"diag/policy_mean_abs": ""}),
    Panel("environment steps per second", {"time/env_steps_per_second": ""}),
    Panel("gradient steps per second", {"time/gradient_steps_per_second": ""}),
)
COUNTS = {
    "train/faults": "faults of the simulation",
    "train/bounded": "numbers beyond ten deviations",
    "train/skipped_updates": "skipped updates",
}
UNINTERESTING = {"train/episodes"}  # how many ended since the row before


def panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """What there is to draw in the rows of metrics.jsonl; a key that is not known here is a panel of its own."""
    present = {key for row in rows for key, value in row.items() if key.startswith(SECTIONS) and value is not None}
    known = {key for panel in PANELS for key in panel.lines} | set(COUNTS) | UNINTERESTING
    found = [Panel(panel.title, {key: word for key, word in panel.lines.items() if key in present}) for panel in PANELS]
    found += [Panel(_words(key), {key: ""}) for key in sorted(present - known)]
    found += [Panel(word, {key: ""}) for key, word in COUNTS.items() if any(row.get(key) for row in rows)]
    return [panel for panel in found if panel.lines]


def never(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was counted and did not happen once."""
    return [
        word
        for key, word in COUNTS.items()
        if any(key in row for row in rows) and not any(row.get(key) for row in rows)
    ]


def draw(plt: Any, panel: Panel, rows: Sequence[Mapping[str, Any]]) -> Any:
    """A figure of one panel against environment steps."""
    figure, axis = plt.subplots(figsize=(3.4, 2.1), layout="constrained")
    for key, word in panel.lines.items():
        # The first row, right after exploration, has a rate of 0: nothing was trained yet.
        points = [
            (row["env_steps"], row[key])
            for row in rows
            if row.get(key) is not None and not (key.startswith("time/") and row[key] == 0)
        ]
        x, y = zip(*points, strict=True) if points else ((), ())
        axis.plot(x, y, linewidth=1.2, label=word, marker="." if len(points) == 1 else None)
    if len(panel.lines) > 1:
        axis.legend(fontsize="x-small", frameon=False)
    axis.set_title(panel.title, fontsize="medium", parse_math=False)
    axis.tick_params(labelsize="small")
    curves.tidy(axis, counts=True)
    return figure


def _words(key: str) -> str:
    """diag/policy_weight_entropy is the policy's weight entropy."""
    return key.partition("/")[2].replace("_", " ")
