"""The zoo: `python -m sacbrax.zoo` lists the shipped policies, `train` makes one, `page` writes docs/zoo.md."""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sacbrax.cli import COUNT, Parser, guarded, leave
from sacbrax.config import ConfigError
from sacbrax.policy_file.files import PRETRAINED
from sacbrax.zoo import records
from sacbrax.zoo.marks import MARKS


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.zoo",
        description="Trained policies, one per task. `sacbrax.load_policy(NAME)` and every command that takes a RUN "
        "know them by name.",
        epilog="example: python -m sacbrax.zoo train halfcheetah_v5 --seeds 5",
    )
    parser.add_argument("--json", action="store_true", help="print the records as one JSON list")
    doors = parser.add_subparsers(dest="door", metavar="train | page")
    train = doors.add_parser("train", help="train, judge in Gymnasium and keep a policy")
    train.add_argument("name", metavar="NAME", help="task; also the configuration, but for --config")
    train.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values that replace the configuration's")
    train.add_argument("--config", help="configuration (default: tasks/NAME, else NAME)")
    train.add_argument("--seeds", type=COUNT, default=5, help="runs, with seeds 0, 1, ... (default: 5)")
    train.add_argument("--runs", type=Path, default=Path("runs/zoo"), help="where they are (default: runs/zoo)")
    train.add_argument("--out", type=Path, default=PRETRAINED, help="where the policy goes (default: the package)")
    page = doors.add_parser("page", help="write a page of all policies with curves, stills and loops")
    page.add_argument("--out", type=Path, default=Path("docs/zoo.md"), help="the page (default: docs/zoo.md)")
    return parser.parse_args(argv)


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    if args.door == "train":
        from sacbrax.config import shipped_configs
        from sacbrax.zoo import training

        shipped = shipped_configs()
        config = args.config or next((name for name in (f"tasks/{args.name}", args.name) if name in shipped), None)
        if config is None:
            known = ", ".join(name.removeprefix("tasks/") for name in shipped if name.startswith("tasks/"))
            raise ConfigError(f"{args.name}: no configuration of that name; choose from {known}, or give --config FILE")
        record = training.make(args.name, config, args.overrides, range(args.seeds), args.runs, args.out)
        print("\n".join(lines([record])))
    elif args.door == "page":
        from sacbrax.zoo import page

        page.write(args.out)
        print(args.out)
    else:
        found = [(name, records.read(name)) for name in records.names()]
        if args.json:
            print(json.dumps([dataclasses.asdict(record) for _, record in found if record is not None]))
        else:
            print("\n".join(lines([record for _, record in found if record is not None])))
            for name in (name for name, record in found if record is None):
                print(f"{name:28} no record of its training")
    return 0


def lines(shown: Sequence[records.Record]) -> list[str]:
    """A table of 80 columns: returns in Gymnasium, of the policy and over seeds, and below each row when training was
    at the public marks."""
    rows = [f"{'policy':28} {'return':>10} {'seeds':>5} {'mean':>10} {'worst':>10} {'seconds':>8}"]
    for record in shown:
        means = np.array([seed.return_mean for seed in record.seeds])
        seconds = np.mean([seed.seconds for seed in record.seeds])
        rows.append(
            f"{record.name:28} {record.own.return_mean:10,.1f} {len(means):5} {means.mean():10,.1f} "
            f"{means.min():10,.1f} {seconds:8,.0f}"
        )
        for mark in MARKS.get(record.name, ()):
            rows.append(f"  {mark.value:10,.10g} ({mark.whose}): {reached(record, mark.value)}")
    return rows


def reached(record: records.Record, mark: float) -> str:
    """Median seconds in which the seeds were at a mark, and how many were."""
    found = record.all_seconds_to(mark)
    return f"{np.median(found):,.0f} s, {len(found)} of {len(record.seeds)} seeds" if found else "not reached"


if __name__ == "__main__":
    leave(main())
