"""Compare runs: `python -m sacbrax.compare RUN... [--mark R] [--at-seconds S] [--out FILE.(txt|csv|html)]`."""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
from collections.abc import Sequence
from pathlib import Path

from sacbrax.cli import COUNT, Parser, duration, guarded, leave
from sacbrax.view import comparison, curves
from sacbrax.view.figures import load_matplotlib, save, svg

POINTS = 500  # of a curve on the page
FORMATS = ("text", "csv", "html")
SUFFIXES = {".txt": "text", ".csv": "csv", ".html": "html"}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.compare",
        description="Last and best return of runs with intervals, what they took to a return, settings that differ. "
        "Runs that differ only in the seed are one line.",
        epilog="example: python -m sacbrax.compare runs/swimmer/* --mark 345.6 --out compared.html",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories")
    parser.add_argument("--mark", type=float, metavar="R", help="also the time and the steps to a return of R")
    parser.add_argument("--at-steps", type=COUNT, metavar="N", help="also the return after N environment steps")
    parser.add_argument("--at-seconds", type=duration, metavar="S", help="also the return after S seconds")
    parser.add_argument("--format", choices=FORMATS, help="by default what --out ends in, else text")
    parser.add_argument("--out", type=Path, help="file to write, .txt, .csv or .html; without, standard output")
    args = parser.parse_args(argv)
    if args.out is not None and args.out.suffix not in SUFFIXES:
        parser.error(f"--out: {args.out} must end in one of {', '.join(SUFFIXES)}")
    args.format = args.format or (SUFFIXES[args.out.suffix] if args.out else "text")
    return args


def content(args: argparse.Namespace) -> str:
    """What is asked for."""
    groups = comparison.groups(args.runs)
    asked = comparison.Asked(args.mark, args.at_steps, args.at_seconds)
    entries = comparison.compare(groups, asked)
    if args.format == "csv":
        return comparison.csv(entries)
    if args.format == "text":
        return comparison.text(entries, asked)
    plt, found = load_matplotlib(), [curves.curve_of(group).thinned(POINTS) for group in groups]
    return comparison.page(entries, asked, svg(plt, curves.draw(plt, found)))


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    text = content(args)
    if args.out is None:
        print(text, end="")
    else:
        save(args.out, lambda: args.out.write_text(text, encoding="utf-8"))
        print(args.out)
    return 0


if __name__ == "__main__":
    leave(main())
