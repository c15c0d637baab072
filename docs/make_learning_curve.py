"""Draw docs/static/learning_curve.png from a run of several seeds: `python docs/make_learning_curve.py RUN`."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "static" / "learning_curve.png"
BEST_PUBLIC_SAC = 345.6  # rl-baselines3-zoo, 1M steps; docs/benchmarks.md


def draw(run: Path, out: Path) -> None:
    """One line for each seed of the run, return against environment steps of that seed."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seeds = sorted(key for key in rows[-1] if key.startswith("seed_") and key.endswith("/eval/return_mean"))
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for key in seeds:
        axis.plot([row["env_steps"] / 1e6 for row in rows], [row[key] for row in rows], lw=1, label=key.split("/")[0])
    axis.axhline(BEST_PUBLIC_SAC, color="black", lw=0.8, ls="--", label="best public SAC")
    axis.set(xlabel="million environment steps", ylabel="return of Swimmer-v5", xlim=(0, None))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize="small", ncols=2, loc="lower right")
    figure.savefig(out, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), OUT)
