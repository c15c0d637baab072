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


def main(rates_file: Path, sweeps: list[Path]) -> None:
    """The table and the picture."""
    rates = {
        name: float(rate) for name, rate, *_ in map(str.split, rates_file.read_text(encoding="utf-8").splitlines())
    }
    tasks = [read(sweep) for sweep in sweeps]
    end = min(runs[0][0][-1] for runs in tasks[0].values())
    share = {variant: min(1.0, rates[variant] / rates[BASE]) for variant in tasks[0]}
    # [runs, tasks] of each variant, in units of the base's mean at its end.
    scores = {}
    for name, until in (("updates", dict.fromkeys(share, end)), ("time", {v: end * s for v, s in share.items()})):
        unit = [np.mean([score(*run, end) for run in task[BASE]]) for task in tasks]
        scores[name] = {
            variant: np.array([[score(*run, until[variant]) for run in task[variant]] for task in tasks]).T / unit
            for variant in share
        }
    order = sorted(share, key=lambda variant: interquartile_mean(scores["updates"][variant]))
    columns = " | ".join(sweep.name for sweep in sweeps)
    print(f"| variant | {columns} | by updates | by time | updates/s |")
    print("|---|" + "--:|" * (len(sweeps) + 3))
    for variant in reversed(order):
        own = [f"{np.mean([score(*run, end) for run in task[variant]]):,.0f}" for task in tasks]
        both = []
        for name in scores:
            low, high = interquartile_interval(scores[name][variant])
            both.append(f"{interquartile_mean(scores[name][variant]):.2f} ({low:.2f} to {high:.2f})")
        ratio = f"{rates[variant] / rates[BASE]:.2f}"
        print(f"| `{variant}` | {' | '.join(own)} | {' | '.join(both)} | {ratio} |")

    figure, axes = plt.subplots(1, 2, figsize=(7.2, 4.4), sharey=True, layout="constrained")
    titles = {"updates": f"after {end:,.0f} updates", "time": "in the time of as_it_is"}
    for axis, (name, found) in zip(axes, scores.items(), strict=True):
        for place, variant in enumerate(order):
            values = found[variant]
            low, high = interquartile_interval(values)
            color = "tab:orange" if variant == BASE else "tab:blue"
            axis.plot([low, high], [place, place], lw=5, color=color, alpha=0.35, solid_capstyle="butt")
            axis.plot(interquartile_mean(values), place, "o", color=color)
            for mark, task in zip("x+1234", values.T, strict=False):
                axis.plot(task.mean(), place, mark, color="black", ms=5, alpha=0.6)
        axis.axvline(1, color="tab:orange", lw=0.9, ls="--")
        axis.set(title=titles[name], xlabel="return, as_it_is = 1", yticks=range(len(order)), yticklabels=order)
        axis.grid(alpha=0.3, axis="x")
        axis.spines[["top", "right"]].set_visible(False)
    marks = [plt.Line2D([], [], marker=mark, ls="", color="black") for mark, _ in zip("x+1234", sweeps, strict=False)]
    figure.legend(
        marks, [sweep.name for sweep in sweeps], ncols=len(sweeps), fontsize="small", loc="outside lower center"
    )
    figure.savefig(OUT, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
