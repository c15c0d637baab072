"""The main door: `python -m sacbrax.train CONFIG.yaml [key.sub=value ...]`."""

import argparse
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacbrax import config as config_lib
from sacbrax.cli import guarded, prepare_jax


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door; argparse itself exits with 2 on a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m sacbrax.train",
        description="Train soft actor-critic; simulation and learning run as one compiled program.",
        epilog="example: python -m sacbrax.train configs/swimmer.yaml train.seed=1 env.num_envs=4096",
    )
    parser.add_argument("config", help="YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values that replace the file's")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser.parse_args(argv)


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    config = config_lib.load(args.config, args.overrides)
    prepare_jax(config)
    from sacbrax.runner import run

    result = run(config, name=Path(args.config).stem, quiet=args.quiet)
    return 0 if result.interrupted_by is None else 128 + result.interrupted_by


class _CallableModule(types.ModuleType):
    """`sacbrax.train` is this module for `python -m` and a function for `sacbrax.train(config)`: it is both."""

    def __call__(self, config: config_lib.Config, **options: Any) -> Any:
        from sacbrax.runner import run

        return run(config, **options)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    sys.exit(main())
