"""The main door: `python -m sacbrax.train CONFIG.yaml [key.sub=value ...] [--resume RUN]`.

Arguments and exit status alone; `run.loop` trains.
"""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import sys
import types
from collections.abc import Sequence
from typing import Any

from sacbrax import config as config_lib
from sacbrax.cli import Parser, file_first, guarded, leave, prepare_jax
from sacbrax.parallel import processes
from sacbrax.run import directory


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door. Raises `ConfigError` on a mistake."""
    parser = Parser(
        prog="python -m sacbrax.train",
        description="Train soft actor-critic; simulation and learning run as one compiled program.",
        epilog="example: python -m sacbrax.train configs/swimmer.yaml train.seed=1 env.num_envs=4096",
    )
    parser.add_argument("config", nargs="?", help="YAML file, see configs/; may be left out with --resume")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values that replace the file's")
    parser.add_argument("--resume", metavar="RUN", help="go on with the run in this directory")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors and warnings")
    args = parser.parse_intermixed_args(argv)  # overrides may come before and after options
    args.config, args.overrides = file_first(args.config, args.overrides)
    if not args.resume and not args.config:
        parser.error("CONFIG.yaml or --resume RUN is needed")
    return args


def configure(args: argparse.Namespace) -> config_lib.Config:
    """The configuration that the arguments ask for."""
    if args.resume and not args.config:
        return directory.load_for_resume(args.resume, args.overrides)
    config = config_lib.load(args.config, args.overrides)
    if not args.resume:
        return config
    place = directory.existing(args.resume)
    directory.check_place(place, args.overrides)
    return directory.in_directory(config, place)


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    config = configure(args)
    prepare_jax(config)
    from sacbrax.run.loop import run

    result = run(config, quiet=args.quiet)
    processes.part()
    return 0 if result.interrupted_by is None else 128 + result.interrupted_by


class _CallableModule(types.ModuleType):
    """`sacbrax.train` is this module for `python -m` and a function for `sacbrax.train(config)`: it is both."""

    def __call__(self, config: config_lib.Config, **options: Any) -> Any:
        from sacbrax.run.loop import run

        return run(config, **options)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    leave(main())
