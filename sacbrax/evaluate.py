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
from typing import Any

import numpy as np

from sacbrax.cli import COUNT, NATURAL, SEED, Parser, guarded, leave, prepare_jax
from sacbrax.config import ConfigError, EnvConfig
from sacbrax.config.option import build
from sacbrax.core.errors import RunError
from sacbrax.core.machine import host_bytes
from sacbrax.core.numbers import sound_episodes
from sacbrax.policy_file.files import load_policy, task
from sacbrax.policy_file.numpy_policy import NumpyPolicy
from sacbrax.view.episode import ENGINES, gymnasium_env, in_bounds

GYMNASIUM_BYTES = 2**20  # of an environment: 1.0 MiB of Swimmer-v5, 1.2 of Humanoid-v5, resident size over 50 of them


def evaluate_gymnasium(policy: NumpyPolicy, episodes: int, seed: int) -> dict[str, np.ndarray]:
    """Whole episodes in Gymnasium's own task; `return` and `length`, [episodes] each. As on our engines a step of the
    length is as many of the task's own as the policy repeats an action.

    Raises ConfigError when the task has no Gymnasium twin or Gymnasium is not installed.
    """
    if episodes * GYMNASIUM_BYTES > host_bytes():
        raise ConfigError(f"--episodes: {episodes:,} environments of Gymnasium are more than the memory here holds")
    envs = [gymnasium_env(policy) for _ in range(episodes)]
    config: EnvConfig = build(EnvConfig, policy.header.get("env"), "env")
    observations = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    space: Any = envs[0].action_space
    total, length = np.zeros(episodes), np.zeros(episodes, np.int64)
    running = list(range(episodes))
    while running:
        actions = in_bounds(policy(observations), space)
        for i in list(running):
            length[i] += 1
            for _ in range(config.action_repeat):
                observations[i], reward, terminated, truncated, _ = envs[i].step(actions[i])
                total[i] += reward
                if terminated or truncated:
                    running.remove(i)
                    break
    for env in envs:
        env.close()
    return {"return": total, "length": length}


def evaluate_engine(
    policy: NumpyPolicy, engine: str | None, episodes: int, seed: int, *, imports: bool = False
) -> tuple[str, dict[str, np.ndarray]]:
    """Whole episodes side by side on one of our engines, by default that of training: its name, `return` and `length`,
    [episodes] each. `imports` allows the file to name a class outside the package."""
    import jax

    from sacbrax.envs import compiler_options, vector_env
    from sacbrax.training.memory import device_bytes

    env, config = task(policy, engine, imports=imports)
    start = jax.eval_shape(env.reset, jax.random.key(0))
    width = max(max(array.shape, default=1) for array in policy.arrays.values())
    numbers = sum(leaf.size for leaf in jax.tree.leaves(start)) + width
    if 4 * numbers * episodes > device_bytes():
        raise ConfigError(f"--episodes: {episodes:,} episodes side by side are more than the memory here holds")

    def act(observation: Any, key: Any) -> Any:
        shape = jax.ShapeDtypeStruct((*observation.shape[:-1], policy.action_size), np.float32)
        return jax.pure_callback(policy, shape, observation)

    def run(key: Any) -> dict[str, Any]:
        return vector_env.evaluate(env, act, key, episodes, config.episode_length)

    episodes_of = jax.jit(run, compiler_options=compiler_options(env))
    # Some tasks bring their own physics, whatever engine is asked for.
    return env.backend, {name: np.asarray(value) for name, value in episodes_of(jax.random.key(seed)).items()}


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
