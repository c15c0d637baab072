"""Keep a run's transitions for other runs: `python -m sacbrax.replay save RUN FILE.npz`."""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax import config as config_lib
from sacbrax.checkpoint import files, manifest, state_arrays
from sacbrax.cli import NATURAL, Parser, guarded, leave
from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError, one_line
from sacbrax.core.files import replacing


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.replay",
        description="Write the transitions in a run's newest checkpoint to a file that replay.prior takes.",
        epilog="example: python -m sacbrax.replay save runs/first first.npz",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="save")
    save_parser = commands.add_parser("save", help="write a file", description="Write a file.")
    save_parser.add_argument("run", type=Path, metavar="RUN", help="run directory")
    save_parser.add_argument("out", type=Path, metavar="FILE.npz", help="file to write")
    save_parser.add_argument("--agent", type=NATURAL, metavar="I", help="of several seeds this one alone (from 0)")
    args = parser.parse_args(argv)
    if args.out.suffix != ".npz":
        parser.error(f"{args.out}: must end in .npz")
    return args


def transitions(run: Path, agent: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of such a file, [M, ...], environment by environment, oldest first; of all seeds, or of one.

    Raises `ConfigError` for a directory without a checkpoint and an agent that is not there.
    """
    from sacbrax.training import prior
    from sacbrax.training.replay import decode

    directory = run / "checkpoints"
    found = files.names(directory)
    if not found:
        raise ConfigError(f"{run}: has no checkpoint; a run keeps its transitions with checkpoint.full=true")
    body = manifest.read(directory / found[-1])
    shapes = {name: (tuple(shape), dtype) for name, (shape, dtype) in body["arrays"].items()}
    arrays, notes = files.read(directory / found[-1], lambda notes: shapes)
    config = config_lib.parse(notes["config"], "the configuration in the checkpoint")
    rows = np.asarray(decode(arrays[state_arrays.ROWS]))
    shards, seeds = config.parallel.shards or 1, config.train.num_seeds
    if agent is not None and agent >= seeds:
        raise ConfigError(f"--agent: must be below {seeds}, got {agent}")
    rows = rows.reshape(seeds, shards, *rows.shape[-2:])
    size, following = (arrays[f"state/replay/{name}"].reshape(seeds, shards) for name in ("size", "insert_index"))
    chains = []
    for seed in range(seeds) if agent is None else (agent,):
        for part in range(shards):
            place = (rows[seed, part], int(size[seed, part]), int(following[seed, part]))
            chains += _by_environment(*place, config.replay.capacity // shards, config.env.num_envs // shards)
    observation_size = arrays["state/normalizer/mean"].shape[-1]
    together = np.concatenate(chains)
    ends = np.cumsum([observation_size, together.shape[1] - 2 * observation_size - 3, observation_size, 1, 1])
    named = dict(zip(prior.FIELDS, np.split(together, ends, axis=1), strict=True))
    for name in ("reward", "discount", "first"):
        named[name] = named[name][:, 0]
    named["action"] = np.clip(named["action"], -1.0, 1.0)  # as environments do with one that is not squashed
    return named | {"first": named["first"] != 0, prior.TASK: np.array(json.dumps(prior.task_of(config)))}


def _by_environment(rows: np.ndarray, size: int, following: int, capacity: int, num_envs: int) -> list[np.ndarray]:
    """The rows of a ring, whose next is written at `following`, of each environment in their order."""
    if size == 0:
        return []
    age = np.arange(size)  # 0 is the newest
    newest_first = rows[(following - 1 - age) % capacity]
    parts = [newest_first[age % num_envs == i][::-1].copy() for i in reversed(range(min(num_envs, size)))]
    for part in parts:
        part[0, -1] = 1.0  # nothing comes before it
    return parts


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    arrays: dict[str, Any] = transitions(args.run, args.agent)
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(args.out, "wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise RunError(f"{args.out} could not be written: {one_line(error)}") from None
    print(f"{len(arrays['reward']):,} transitions are in {args.out}; train with replay.prior={args.out}")
    return 0


if __name__ == "__main__":
    leave(main())
