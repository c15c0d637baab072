"""The benchmark door: `python -m sacbrax.bench BENCHMARK [options] [--json]`; without one it lists them."""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import contextlib
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from sacbrax.cli import Parser, guarded, leave
from sacbrax.config import ConfigError
from sacbrax.core.streams import one_place

BENCHMARKS = {
    "physics": "env steps per second of each engine",
    "update": "gradient steps and floating-point operations per second, beside the machine's matrix product",
    "roofline": "the machine's matrix product and memory bandwidth, the roofs over every program",
    "train": "env and gradient steps per second of a whole training program, compile seconds, memory",
    "peers": "other SAC implementations beside this one, same batch, networks and update ratio",
    "tasks": "env steps per second of whole tasks with their resets, beside Brax's own wrappers",
    "suite": "returns of a list of tasks after a time, one recipe for all, beside public figures",
    "mark": "seconds of whole training runs to a return, with no compiled program kept and with all",
    "smoke": "whether a device computes what the CPU computes, and trains",
    "gpu": "all that docs/benchmarks.md wants of a GPU, in parts, and its tables",
    "gpu-plan": "kernels, graphs, registers and memory of a GPU's program, without a GPU",
    "cost": "how long a vector step will take on a machine, predicted and not measured",
    "parity": "differences of the *_v5 tasks from Gymnasium's own, step by step",
}
USAGE = (
    "usage: python -m sacbrax.bench BENCHMARK [--json] [options]; BENCHMARK --help lists its options\n"
    + "".join(f"\n  {name:9} {text}" for name, text in BENCHMARKS.items())
    + "\n\nexample: python -m sacbrax.bench update --json"
)


def parse(argv: Sequence[str]) -> tuple[Any, argparse.Namespace]:
    """The benchmark's module and its arguments. Raises `ConfigError` on a mistake."""
    name, *rest = argv
    if name not in BENCHMARKS:
        raise ConfigError(f"{name}: unknown benchmark; choose from {', '.join(BENCHMARKS)}")
    benchmark = importlib.import_module(f"sacbrax.bench.{name.replace('-', '_')}")
    parser = Parser(
        prog=f"python -m sacbrax.bench {name}",
        description=BENCHMARKS[name],
        epilog=f"example: python -m sacbrax.bench {name} --json",
    )
    benchmark.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON value on standard output, nothing else")
    return benchmark, parser.parse_intermixed_args(rest)


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    arguments = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    benchmark, args = parse(arguments)
    benchmark.prepare(args)
    with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints, standard output is the result's
        result = benchmark.main(args)
    if args.json:
        print(json.dumps(result))
    elif not (getattr(benchmark, "SHOWN_AS_MEASURED", False) and one_place()):
        benchmark.print_table(result)
    return 0


if __name__ == "__main__":
    leave(main())
