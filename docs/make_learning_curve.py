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
    """Return against environment steps of one seed: a thin line for each seed, a thick one for their mean."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seeds = sorted(key for key in rows[-1] if key.startswith("seed_") and key.endswith("/eval/return_mean"))
    steps = [row["env_steps"] / 1e6 for row in rows]
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for key in seeds:
        axis.plot(steps, [row[key] for row in rows], lw=0.9, color="tab:blue", alpha=0.45)
    mean = [sum(row[key] for key in seeds) / len(seeds) for row in rows]
    axis.plot(steps, mean, lw=1.8, color="tab:blue", label=f"sacbrax: {len(seeds)} seeds (thin) and their mean")
    best = f"best public SAC after a million steps, {BEST_PUBLIC_SAC}"
    axis.axhline(BEST_PUBLIC_SAC, color="black", lw=0.9, ls="--", label=best)
    axis.set(xlabel="million environment steps", ylabel="return of Swimmer-v5", xlim=(0, steps[-1]))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize="small", loc="lower right")
    figure.savefig(out, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), OUT)
