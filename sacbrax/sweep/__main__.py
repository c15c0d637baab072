"""The sweep door: `python -m sacbrax.sweep SWEEP.yaml [key=value ...]`."""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console

from sacbrax.cli import Parser, file_first, guarded, leave, prepare_jax
from sacbrax.config import ConfigError, find
from sacbrax.sweep import spec


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.sweep",
        description="Train over a grid, a random or a tuned search of settings or a population, or run the scaling "
        "study. A sweep that is started again goes on: finished trials are not rerun.",
        epilog="example: python -m sacbrax.sweep configs/sweeps/swimmer_rates.yaml trials=8 train.num_seeds=2",
    )
    parser.add_argument("sweep", nargs="?", help="YAML file, see configs/sweeps/ and configs/scaling.yaml")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="values that replace the file's, or (key.sub) the trials'"
    )
    parser.add_argument("--json", action="store_true", help="print the ranked trials as one JSON list")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the result")
    args = parser.parse_intermixed_args(argv)
    args.sweep, args.overrides = file_first(args.sweep, args.overrides)
    if args.sweep is None:
        parser.error("SWEEP.yaml is needed")
    return args


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status: 1 when no trial came to an end."""
    args = parse(argv)
    path = find(args.sweep)
    if spec.read_mapping(path).get("study") is not None:
        from sacbrax.study import scaling

        return scaling.main(path, args.overrides, as_json=args.json, quiet=args.quiet)
    sweep = spec.read(path, args.overrides)
    prepare_jax(sweep.trial({}))
    from sacbrax.sweep import results, run

    journal = run.run(sweep, args.quiet)
    results.write_csv(sweep, journal)
    ranked = journal.ranked(sweep.config.direction)
    if args.json:
        print(json.dumps(ranked))
    else:
        results.print_table(sweep, journal, Console(highlight=False))
    try:
        picture = results.draw(sweep, journal)
        if not args.quiet:
            print(f"{journal.directory / 'results.csv'}, {picture}", file=sys.stderr)
    except ConfigError as error:  # the results do not depend on matplotlib
        print(f"no picture: {error}", file=sys.stderr)
    return 0 if any(row["status"] == "done" for row in ranked) else 1


if __name__ == "__main__":
    leave(main())
