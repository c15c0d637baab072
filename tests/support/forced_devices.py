"""Checks that need several devices: a program of its own on eight forced host devices, run by test_parallel.py.

Prints one JSON object {check: result}. JAX fixes the number of devices before its first use, hence the process.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
if "XDG_CACHE_HOME" in os.environ:
    jax.config.update("jax_compilation_cache_dir", os.environ["XDG_CACHE_HOME"] + "/sacbrax/xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

import numpy as np  # noqa: E402
from epochs import epoch  # noqa: E402
from logs import learning  # noqa: E402
from resumable import arrays, train  # noqa: E402
from tiny_config import make_tiny  # noqa: E402

from sacbrax.config import Config  # noqa: E402
from sacbrax.training.plan import Plan  # noqa: E402
from sacbrax.training.programs import Programs  # noqa: E402
from sacbrax.training.trainer import Trainer  # noqa: E402

SIZES = (
    "env.num_envs=16",
    "replay.capacity=256",
    "train.batch_size=16",
    "train.exploration_env_steps=72",  # half a vector step is the policy's
    "train.total_env_steps=400",
    "eval.episodes=8",
    "algorithm.reward_centering=0.01",
)


def configure(*overrides: str) -> Config:
    return make_tiny(*SIZES, *overrides)


def learn(*overrides: str) -> dict[str, Any]:
    """Exploration and an epoch, its metrics, an evaluation, diagnostics."""
    config = configure(*overrides)
    plan = Plan.of(config)
    trainer = Trainer(config, plan.shards)
    programs = Programs(trainer, config.train.num_seeds, plan)
    train_keys, eval_keys = programs.keys(config.train.seed)
    hyper = trainer.hyper()
    state, metrics = epoch(config, programs, programs.prefill(programs.init(train_keys, hyper), hyper), hyper)
    return {
        "agent": state.agent,
        "replay": state.replay,
        "env": state.env,
        "normalizer": state.normalizer,
        "metrics": metrics,
        "episodes": programs.evaluate(state, eval_keys),
        "diagnostics": programs.diagnose(state, hyper, eval_keys),
    }


def difference(one: Any, other: Any) -> float:
    """The largest between two trees of the same shapes."""
    largest = 0.0
    pairs = zip(jax.tree.leaves(jax.device_get(one)), jax.tree.leaves(jax.device_get(other)), strict=True)
    for a, b in pairs:
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        apart = np.abs(np.asarray(a, float) - np.asarray(b, float))
        assert (np.isnan(a) == np.isnan(b)).all()
        largest = max(largest, float(np.nan_to_num(apart).max(initial=0.0)))
    return largest


def copies_differ(tree: Any) -> int:
    """Leaves of which some device holds another copy than the first one."""
    apart = 0
    for leaf in jax.tree.leaves(tree):
        first, *rest = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        apart += any((copy != first).any() for copy in rest)
    return apart


def resume(directory: Path) -> dict[str, Any]:
    """Two shards on two devices; half a run on two and half on one, half and half on two; per seeds likewise."""
    size = ("env.num_envs=4", "eval.episodes=4", "train.total_env_steps=440")
    half = "train.total_env_steps=280"
    two = ("parallel.devices=2",)
    train(directory / "whole", *size, *two)
    train(directory / "halves", *size, *two, half)
    shutil.copytree(directory / "halves", directory / "moved")
    train(directory / "halves", *size, *two)
    train(directory / "moved", *size)  # the shards are remembered
    whole, halves, moved = (arrays(directory / name) for name in ("whole", "halves", "moved"))
    return {
        "shape": list(whole["state/replay/size"].shape),
        "bits": all(whole[key].tobytes() == halves[key].tobytes() for key in whole),
        "log": learning(directory / "whole") == learning(directory / "halves"),
        "moved": max(float(np.abs(whole[key].astype(float) - moved[key]).max(initial=0)) for key in whole),
    }


def main() -> None:
    eight, lanes = (learn(f"parallel.devices={n}", "parallel.shards=8") for n in (8, 1))
    checks = {
        "eight_devices": difference(eight, lanes),
        "copies_differ": copies_differ((eight["agent"], eight["normalizer"])),
        "replay_devices": len({shard.device for shard in eight["replay"].size.addressable_shards}),
        "episodes": eight["episodes"]["return"].shape,
        "resume": resume(Path(sys.argv[1])),
    }
    if "--all" in sys.argv:
        apart, alone = learn("train.num_seeds=2", "parallel.over=seeds", "parallel.devices=2"), learn("train.seed=1")
        checks["seed_alone"] = difference(jax.tree.map(lambda x: x[1], apart), alone)
        mixed = [
            learn("parallel.devices=4", *o)
            for o in (["parallel.shards=8"], ["parallel.over=seeds", "train.num_seeds=8"])
        ]
        checks["two_lanes_on_four_devices"] = difference(mixed[0], lanes)
        checks["two_seeds_on_four_devices"] = difference(jax.tree.map(lambda x: x[1], mixed[1]), alone)
        both = [learn(f"parallel.devices={n}", "parallel.shards=2", "train.num_seeds=2") for n in (1, 2)]
        checks["seeds_of_shards"] = difference(*both)
    print(json.dumps(checks))


if __name__ == "__main__":
    main()
