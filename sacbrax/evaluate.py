"""Evaluate a trained policy: `python -m sacbrax.evaluate RUN [--engine gymnasium|mjx|fused]`.

RUN is a run directory, a policy file or the name of a pretrained policy. `gymnasium` steps the unmodified Gymnasium
task in native MuJoCo, one environment per episode, reset with seeds S, S+1, ...: the number to compare with others.
"""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import json
from collections.abc import Sequence

from sacbrax.cli import COUNT, NATURAL, SEED, Parser, guarded, leave, prepare_jax
from sacbrax.config import EnvConfig
from sacbrax.config.option import build
from sacbrax.core.errors import RunError
from sacbrax.core.numbers import sound_episodes
from sacbrax.policy_file.files import load_policy
from sacbrax.view.episode import ENGINES
from sacbrax.view.evaluation import evaluate_engine, evaluate_gymnasium


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.evaluate",
        description="Mean return of a trained policy's deterministic actions.",
        epilog="example: python -m sacbrax.evaluate runs/swimmer/2026-01-31_12-00-00 --engine gymnasium --episodes 100",
    )
    parser.add_argument("run", help="run directory, policy file or name of a pretrained policy")
    parser.add_argument(
        "--engine", choices=ENGINES, help="where to step the task (default: the engine it was trained on)"
    )
    parser.add_argument("--episodes", type=COUNT, default=100, help="number of episodes (default: 100)")
    parser.add_argument("--seed", type=SEED, default=0, help="seed of the first episode (default: 0)")
    parser.add_argument("--seed-index", type=NATURAL, metavar="I", help="of a run of several seeds (default: best)")
    parser.add_argument("--import", action="store_true", dest="imports", help="import the class that the run names")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    policy = load_policy(args.run, args.seed_index)
    engine = args.engine or build(EnvConfig, policy.header.get("env"), "env").engine
    if engine == "gymnasium":
        result = evaluate_gymnasium(policy, args.episodes, args.seed)
    else:
        prepare_jax()
        engine, result = evaluate_engine(policy, engine, args.episodes, args.seed, imports=args.imports)
    found = {name: value.item() for name, value in sound_episodes(result).items()}
    if found["faults"] == args.episodes:
        raise RunError(f"{args.run}: no episode on {engine} stayed finite")
    report = {
        "engine": engine,
        "episodes": args.episodes,
        "seed": args.seed,
        "seed_index": args.seed_index,
        **found,
    }
    if args.json:
        print(json.dumps(report))
    else:
        print(
            f"{args.run} on {engine}: return {report['return_mean']:.2f} ± {report['return_std']:.2f} "
            f"(lowest {report['return_min']:.2f}) over {args.episodes} episodes, seeds from {args.seed}"
            + (f"; without {report['faults']} that left the finite numbers" if report["faults"] else "")
        )
    return 0


if __name__ == "__main__":
    leave(main())
