"""The first thing to run on a new device: does it compute what this machine's CPU computes, and does training run.

Physics from the same states on both, and some vector steps of training, whose parameters come out as a digest: the same
program twice, or with another compiler option, can be told apart by it.
"""

import argparse
import hashlib
from typing import Any

from sacbrax import config as config_lib
from sacbrax.bench import timing
from sacbrax.cli import COUNT, file_first, prepare_jax
from sacbrax.core.machine import installed, versions

PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")
ENVS, STEPS = 64, 40  # of the physics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("config", nargs="?", default="swimmer", help="YAML file or name, as for train (swimmer)")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values that replace the file's")
    parser.add_argument("--steps", type=COUNT, default=200, help="vector steps of training (default 200)")


def prepare(args: argparse.Namespace) -> None:
    """Before JAX is imported."""
    config, args.overrides = file_first(args.config, args.overrides)
    args.config = config or "swimmer"
    args.loaded = config_lib.load(args.config, args.overrides)
    prepare_jax(args.loaded)


def main(args: argparse.Namespace) -> dict[str, Any]:
    """What was found, for JSON."""
    import jax
    import numpy as np

    from sacbrax.training.programs import Programs
    from sacbrax.training.trainer import Trainer

    trainer = Trainer(args.loaded)
    programs, hyper = Programs(trainer, args.loaded.train.num_seeds), trainer.hyper()
    keys, _ = programs.keys(args.loaded.train.seed)
    state = programs.prefill(programs.init(keys, hyper), hyper)
    rounds = -(-args.steps // args.loaded.iterations_per_round)
    state, _ = programs.advance(state, programs.zero_sums(state), hyper, np.int32(rounds))
    parameters = [np.asarray(leaf) for leaf in jax.tree.leaves(state.agent.params)]
    digest = hashlib.sha256(b"".join(leaf.tobytes() for leaf in parameters)).hexdigest()
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "machine": timing.machine(),
        "versions": versions() | installed(*PLUGINS),
        "device_bytes": memory.get("bytes_limit"),
        "physics_difference": physics_difference(trainer.env),
        "finite": bool(all(np.isfinite(leaf).all() for leaf in parameters)),
        "digest": digest[:16],
        "vector_steps": rounds * args.loaded.iterations_per_round,
        "overrides": args.overrides,
    }


def physics_difference(env: Any) -> dict[str, float]:
    """Largest difference of observations between the default device and the CPU after one step and after all, each
    from the CPU's states, in units of an observation's deviation over environments."""
    import jax
    import jax.numpy as jnp

    cpu = jax.devices("cpu")[0]
    action = jax.random.uniform(jax.random.key(1), (STEPS, ENVS, env.action_size), minval=-1.0, maxval=1.0)

    def steps(state: Any, actions: Any) -> Any:
        state, _ = jax.lax.scan(lambda s, a: (jax.vmap(env.step)(s, a), None), state, actions)
        return state

    def on(device: Any, *arguments: Any) -> Any:
        return jax.device_put(jax.jit(steps)(*jax.device_put(arguments, device)), cpu)

    with jax.default_device(cpu):
        start = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), ENVS))
        moved = jax.jit(steps)(start, jax.device_put(action, cpu))
        found = {}
        for name, state, count in (("one_step", moved, 1), ("all_steps", start, STEPS)):
            ours, reference = (on(device, state, action[:count]) for device in (jax.devices()[0], cpu))
            scale = jnp.maximum(reference.obs.std(axis=0), 1e-3)
            found[name] = float((jnp.abs(ours.obs - reference.obs) / scale).max())
    return found


def print_table(result: dict[str, Any]) -> None:
    """The result for people."""
    machine, difference = result["machine"], result["physics_difference"]
    print(f"{machine['device']} ({machine['platform']}), jax {machine['jax']}")
    print(f"  physics beside the CPU's: {difference['one_step']:.1e} of a deviation after one step,", end=" ")
    print(f"{difference['all_steps']:.1e} after {STEPS}")
    finite = "finite" if result["finite"] else "NOT finite"
    print(f"  parameters after {result['vector_steps']} vector steps: {finite}, digest {result['digest']}")
