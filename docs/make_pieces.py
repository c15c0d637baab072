"""Draw docs/static/pieces.png and print the table of docs/benchmarks.md, "What a piece of the critic is worth":

    python docs/make_pieces.py RATES SWEEP ...

of sweeps by configs/sweeps/pieces.yaml, one for each task, and a file of updates a second, a variant and its number in
each line.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from sacbrax.core.interquartile import interquartile_interval, interquartile_mean

OUT = Path(__file__).parent / "static" / "pieces.png"
BASE = "as_it_is"
MARKS = "x+1234"  # of tasks
LAST = 3  # evaluations that a score is the mean of: a policy that falls now and then shows in one of them


def read(sweep: Path) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Of each variant its runs in the order of the seeds: gradient steps [T], returns [T]."""
    found: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = defaultdict(dict)
    for line in (sweep / "trials.jsonl").read_text(encoding="utf-8").splitlines():
        trial = json.loads(line)
        if trial.get("status") != "done":
            continue
        lines = (Path(trial["run"]) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = np.array([[row["gradient_steps"], row["eval/return_mean"]] for row in map(json.loads, lines)])
        found[trial["parameters"]["variant"]][trial["parameters"]["train.seed"]] = rows[:, 0], rows[:, 1]
    return {variant: [runs[seed] for seed in sorted(runs)] for variant, runs in found.items()}


def score(steps: np.ndarray, returns: np.ndarray, until: float) -> float:
    """The mean of the last evaluations up to so many gradient steps, between two evaluations in proportion."""
    means = np.convolve(returns, np.full(LAST, 1 / LAST), "valid")
    return float(np.interp(until, steps[LAST - 1 :], means))


def summary(scores: np.ndarray) -> tuple[float, float, float]:
    """The interquartile mean of scores [runs, tasks] and the ends of its interval."""
    return float(interquartile_mean(scores)), *interquartile_interval(scores)


def draw(order: list[str], scores: dict[str, dict[str, np.ndarray]], titles: list[str], tasks: list[str]) -> None:
    """A panel for each way to count, a line for each variant, a mark for each task."""
    figure, axes = plt.subplots(1, len(scores), figsize=(7.2, 4.4), sharey=True, layout="constrained")
    for axis, found, title in zip(axes, scores.values(), titles, strict=True):
        for place, variant in enumerate(order):
            middle, *ends = summary(found[variant])
            color = "tab:orange" if variant == BASE else "tab:blue"
            axis.plot(ends, [place, place], lw=5, color=color, alpha=0.35, solid_capstyle="butt")
            axis.plot(middle, place, "o", color=color)
            for mark, task in zip(MARKS, found[variant].T, strict=False):
                axis.plot(task.mean(), place, mark, color="black", ms=5, alpha=0.6)
        axis.axvline(1, color="tab:orange", lw=0.9, ls="--")
        axis.set(title=title, xlabel=f"return, {BASE} = 1", yticks=range(len(order)), yticklabels=order)
        axis.grid(alpha=0.3, axis="x")
        axis.spines[["top", "right"]].set_visible(False)
    marks = [plt.Line2D([], [], marker=mark, ls="", color="black") for mark, _ in zip(MARKS, tasks, strict=False)]
    figure.legend(marks, tasks, ncols=len(tasks), fontsize="small", loc="outside lower center")
    figure.savefig(OUT, dpi=110)
    plt.close(figure)


def main(rates_file: Path, sweeps: list[Path]) -> None:
    """The table and the picture."""
    lines = map(str.split, rates_file.read_text(encoding="utf-8").splitlines())
    rates = {name: float(rate) for name, rate, *_ in lines}
    tasks = [read(sweep) for sweep in sweeps]
    end = min(runs[0][0][-1] for runs in tasks[0].values())
    speed = {variant: rates[variant] / rates[BASE] for variant in tasks[0]}
    unit = [np.mean([score(*run, end) for run in task[BASE]]) for task in tasks]

    def scores_until(until: dict[str, float]) -> dict[str, np.ndarray]:
        """[runs, tasks] of each variant, in units of the base's mean at its end."""
        return {
            variant: np.array([[score(*run, until[variant]) for run in task[variant]] for task in tasks]).T / unit
            for variant in speed
        }

    scores = {
        "by updates": scores_until(dict.fromkeys(speed, end)),
        "by time": scores_until({variant: end * min(1.0, ratio) for variant, ratio in speed.items()}),
    }
    order = sorted(speed, key=lambda variant: interquartile_mean(scores["by updates"][variant]))
    names = [sweep.name for sweep in sweeps]
    print(f"| variant | {' | '.join([*names, *scores])} | updates/s |")
    print("|---|" + "--:|" * (len(names) + len(scores) + 1))
    for variant in reversed(order):
        own = [f"{np.mean([score(*run, end) for run in task[variant]]):,.0f}" for task in tasks]
        both = ["{:.2f} ({:.2f} to {:.2f})".format(*summary(found[variant])) for found in scores.values()]
        print(f"| `{variant}` | {' | '.join([*own, *both])} | {speed[variant]:.2f} |")
    draw(order, scores, [f"after {end:,.0f} updates", f"in the time of {BASE}"], names)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
