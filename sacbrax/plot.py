"""Pictures of runs: `python -m sacbrax.plot RUN... --out FILE.png` and `python -m sacbrax.plot RUN --kind q_surface`.

Learning curves come from metrics.jsonl and config.yaml alone. No display is needed.
"""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
from collections.abc import Sequence
from pathlib import Path

from sacbrax.cli import COUNT, NATURAL, SEED, Parser, guarded, leave, prepare_jax
from sacbrax.view import curves
from sacbrax.view.figures import load_matplotlib, save


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.plot",
        description="Draw learning curves of runs, or the Q function of one run with sampled actions on it.",
        epilog="example: python -m sacbrax.plot runs/swimmer/* --out curves.png",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories; for q_surface one, or a policy file")
    parser.add_argument("--kind", choices=("curves", "q_surface"), default="curves", help="what to draw (curves)")
    parser.add_argument(
        "--out", type=Path, help="file to write, .png, .svg or .pdf; default KIND.png in the (first) run directory"
    )
    parser.add_argument("--metric", default="eval/return_mean", help="curves: key of metrics.jsonl (eval/return_mean)")
    axes = tuple(curves.AXES)
    parser.add_argument("--x", nargs="+", choices=axes, default=axes, help="curves: against what (all of these)")
    surface = parser.add_argument_group("q_surface; a name that ends in .gif is animated over the run's snapshots")
    surface.add_argument("--dims", type=int, nargs=2, default=None, metavar=("I", "J"), help="action dimensions (0 1)")
    surface.add_argument("--steps", type=NATURAL, nargs="+", help="steps to look at (0 50 200, as far as it goes)")
    surface.add_argument("--observations", type=Path, help=".npy of observations [N, O] to look at instead")
    surface.add_argument("--samples", type=COUNT, default=100, help="actions drawn from the policy (100)")
    surface.add_argument("--seed", type=SEED, default=0, help="seed of the episode and the samples (0)")
    surface.add_argument("--import", action="store_true", dest="imports", help="import the class that the run names")
    args = parser.parse_args(argv)
    if args.kind == "q_surface" and len(args.runs) != 1:
        parser.error("q_surface takes one run")
    if args.out is not None and not args.out.suffix:
        parser.error(f"--out: {args.out} must end in .png, .svg, .pdf or another format of pictures")
    return args


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    first = Path(args.runs[0])
    out = args.out or (first if first.is_dir() else Path()) / f"{args.kind}.png"
    if args.kind == "curves":
        found, plt = curves.gather(args.runs, args.metric), load_matplotlib()
        figure = curves.draw(plt, found, args.metric, args.x)
        save(out, lambda: figure.savefig(out, dpi=130))
        plt.close(figure)
    else:
        from sacbrax.view import q_surface

        if args.observations is None:  # an episode is played
            prepare_jax()
        q_surface.draw(
            args.runs[0],
            out,
            dims=args.dims,
            observations=args.observations,
            steps=args.steps,
            samples=args.samples,
            seed=args.seed,
            imports=args.imports,
        )
    print(out)
    return 0


if __name__ == "__main__":
    leave(main())
