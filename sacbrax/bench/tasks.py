"""Benchmark of whole tasks: env steps per second of our environments, with and without the pool of starts, beside
Brax's own training wrappers stepping the same Brax task.

All step one compiled scan of random actions, with their resets: ours fresh, Brax's one cached start per environment.
XLA compiles all with the options that training gives it (`envs.compiler_options`) unless it is told to use its own.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from sacbrax.cli import COUNT

TASKS = ("inverted_pendulum", "halfcheetah", "hopper", "ant")
SIDES = ("pool", "no pool", "brax")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="names of tasks; Brax's own side for its own")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="what to measure")
    parser.add_argument("--num-envs", type=COUNT, default=64, help="environments")
    parser.add_argument("--steps", type=COUNT, default=20, help="vector steps per compiled call")
    parser.add_argument("--episode-length", type=COUNT, default=1000, help="time limit")
    parser.add_argument("--repeats", type=COUNT, default=5, help="measurements, of which the median counts")
    parser.add_argument("--engine", help="physics engine of our sides; the task's if absent")
    parser.add_argument("--solver-iterations", type=COUNT, help="cap of MJX's solver; the task's if absent")
    parser.add_argument("--ls-iterations", type=COUNT, help="cap of its line search; the task's if absent")
    parser.add_argument("--xla-defaults", action="store_true", help="without the compiler options that training has")


def prepare(args: argparse.Namespace) -> None:
    """The compilation cache."""
    from sacbrax.cli import prepare_jax

    prepare_jax()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """The rows of the table."""
    return {"tasks": [row for name in args.tasks for row in bench(name, args)]}


def print_table(result: dict[str, Any]) -> None:
    """One line per row."""
    print(f"{'task':27} {'side':8} {'envs':>6} {'env steps/s':>12} {'compile s':>10} {'bytes/env':>10}")
    for row in result["tasks"]:
        rate, compiled, size = row["env_steps_per_second"], row["compile_seconds"], row["bytes_per_env"]
        print(f"{row['task']:27} {row['side']:8} {row['num_envs']:6} {rate:12,.0f} {compiled:10.1f} {size:10,}")


def bench(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The sides of one task, which take turns."""
    import jax

    from sacbrax.envs import compiler_options, make_env
    from sacbrax.envs.tasks.brax import BraxTask

    limits: dict[str, Any] = {"solver_iterations": args.solver_iterations, "ls_iterations": args.ls_iterations}
    ours: Any = make_env(name, args.engine, **{key: limit for key, limit in limits.items() if limit is not None})
    options = {} if args.xla_defaults else compiler_options(ours)
    rows, calls = [], []
    for side in args.sides:
        if side == "brax" and not isinstance(ours, BraxTask):
            continue
        reset, step = _brax(ours, args) if side == "brax" else _own(ours, args, None if side == "pool" else 0)
        state = jax.jit(reset, compiler_options=options)(jax.random.key(0))
        begin = time.perf_counter()
        compiled = jax.jit(_scan(step, args.num_envs, ours.action_size, args.steps)).lower(state, jax.random.key(1))
        program: Any = compiled.compile(options)
        seconds = time.perf_counter() - begin
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) // args.num_envs
        row = {"task": name, "side": side, "num_envs": args.num_envs, "compile_seconds": seconds, "bytes_per_env": size}
        rows.append(row)
        calls.append([program, jax.block_until_ready(program(state, jax.random.key(1))), []])
    for _ in range(args.repeats):
        for call in calls:
            program, state, times = call
            begin = time.perf_counter()
            call[1] = jax.block_until_ready(program(state, jax.random.key(2)))
            times.append(time.perf_counter() - begin)
    for row, (_, _, times) in zip(rows, calls, strict=True):
        row["env_steps_per_second"] = args.num_envs * args.steps / statistics.median(times)
    return rows


def _own(env: Any, args: argparse.Namespace, pool: int | None) -> tuple[Callable, Callable]:
    from sacbrax.envs.vector_env import VectorEnv

    vector = VectorEnv(env, args.num_envs, args.episode_length, pool)
    return vector.reset, lambda state, action, key: vector.step(state, action, key)[0]


def _brax(env: Any, args: argparse.Namespace) -> tuple[Callable, Callable]:
    import jax
    from brax.envs.wrappers import training

    wrapped = training.wrap(env.env, episode_length=args.episode_length)

    def reset(key: Any) -> Any:
        return wrapped.reset(jax.random.key_data(jax.random.split(key, args.num_envs)))  # it takes no typed keys

    return reset, lambda state, action, key: wrapped.step(state, action)


def _scan(step: Callable, num_envs: int, action_size: int, steps: int) -> Callable:
    import jax

    def run(state: Any, key: Any) -> Any:
        def body(state: Any, key: Any) -> tuple[Any, None]:
            action_key, step_key = jax.random.split(key)
            action = jax.random.uniform(action_key, (num_envs, action_size), minval=-1.0, maxval=1.0)
            new = step(state, action, step_key)
            return jax.tree.map(lambda x, old: x.astype(old.dtype), new, state), None

        return jax.lax.scan(body, state, jax.random.split(key, steps))[0]

    return run
