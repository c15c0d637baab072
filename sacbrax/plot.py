"""Pictures of runs: `python -m sacbrax.plot RUN... --out FILE.png` and `python -m sacbrax.plot RUN --kind q_surface`.

Learning curves come from metrics.jsonl alone. No display is needed.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacbrax.cli import Parser, guarded, prepare_jax
from sacbrax.config import ConfigError
from sacbrax.figures import load_matplotlib, save


def read_metrics(run: str | Path) -> list[dict[str, Any]]:
    """Every evaluation of a run, oldest first. Raises ConfigError where there is none."""
    path = Path(run) / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{run}: no run directory with a metrics.jsonl") from None
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # the line a running process is writing
    rows = [row for row in rows if isinstance(row, dict) and row.get("eval/return_mean") is not None]
    if not rows:
        raise ConfigError(f"{run}: no evaluation in metrics.jsonl yet")
    return rows


def draw_curves(runs: Sequence[str], out: Path, metric: str = "eval/return_mean") -> None:
    """One line per run: the metric against env steps and against wall time; a band of one standard deviation of the
    episodes where the metric is the return."""
    plt = load_matplotlib()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for run in runs:
        rows = [row for row in read_metrics(run) if row.get(metric) is not None]
        if not rows:
            raise ConfigError(f"--metric: {run} has no {metric!r}")
        y = [row[metric] for row in rows]
        spread = [row.get("eval/return_std") or 0.0 for row in rows] if metric == "eval/return_mean" else None
        for axis, x_name in zip(axes, ("env_steps", "wall_seconds"), strict=True):
            x = [row.get(x_name, math.nan) for row in rows]
            (line,) = axis.plot(x, y, label=Path(run).name or str(run), marker="." if len(x) < 40 else None)
            if spread:
                low, high = ([value + sign * s for value, s in zip(y, spread, strict=True)] for sign in (-1, 1))
                axis.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes[0].set(xlabel="environment steps", ylabel="return" if metric == "eval/return_mean" else metric)
    axes[1].set(xlabel="wall time, compilation included [s]")
    for axis in axes:
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    save(out, lambda: figure.savefig(out, dpi=120))
    plt.close(figure)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.plot",
        description="Draw learning curves of runs, or the Q function of one run with sampled actions on it.",
        epilog="example: python -m sacbrax.plot runs/swimmer/* --out curves.png",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories; for q_surface one, or a policy file")
    parser.add_argument("--kind", choices=("curves", "q_surface"), default="curves", help="what to draw (curves)")
    parser.add_argument("--out", type=Path, help="file to write; default KIND.png in the (first) run directory")
    parser.add_argument("--metric", default="eval/return_mean", help="curves: key of metrics.jsonl (eval/return_mean)")
    surface = parser.add_argument_group("q_surface; a name that ends in .gif is animated over the run's snapshots")
    surface.add_argument("--dims", type=int, nargs=2, default=None, metavar=("I", "J"), help="action dimensions (0 1)")
    surface.add_argument("--steps", type=int, nargs="+", default=[0, 50, 200], help="steps of an episode to look at")
    surface.add_argument("--observations", type=Path, help=".npy of observations [N, O] to look at instead")
    surface.add_argument("--samples", type=int, default=100, help="actions drawn from the policy (100)")
    surface.add_argument("--seed", type=int, default=0, help="seed of the episode and the samples (0)")
    surface.add_argument("--import", action="store_true", dest="imports", help="import the class that the run names")
    args = parser.parse_args(argv)
    if args.kind == "q_surface" and len(args.runs) != 1:
        parser.error("q_surface takes one run")
    if min(args.steps) < 0 or args.samples < 0 or args.seed < 0:
        parser.error("--steps, --samples and --seed must not be negative")
    return args


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    first = Path(args.runs[0])
    out = args.out or (first if first.is_dir() else Path()) / f"{args.kind}.png"
    if args.kind == "curves":
        draw_curves(args.runs, out, args.metric)
    else:
        from sacbrax import q_surface

        if args.observations is None:  # an episode is played
            prepare_jax()
        q_surface.draw(args.runs[0], out, args)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
