"""Speed of the training program itself: compile seconds and rates apart, and memory predicted and measured.

Nothing is evaluated, logged or saved. The compiled loop takes its length from the host, as in a run.
"""

import argparse
import dataclasses
import time
from typing import Any

from sacbrax import config as config_lib
from sacbrax.bench import parts, timing, update
from sacbrax.cli import COUNT, duration, prepare_jax
from sacbrax.core.machine import peak_rss_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("config", help="YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values that replace the file's")
    parser.add_argument(
        "--parts", action="store_true", help="also time physics, replay and update apart, each beside its floor"
    )
    parser.add_argument("--repeats", type=COUNT, default=5, help="timed calls (default 5)")
    parser.add_argument("--seconds", type=duration, default=1.0, help="length of a timed call (default 1)")


def prepare(args: argparse.Namespace) -> None:
    """Before anything is measured: check the arguments, set up JAX."""
    config = config_lib.load(args.config, args.overrides)
    # A cached program would make the compile seconds a lie.
    args.loaded = dataclasses.replace(config, run=dataclasses.replace(config.run, compilation_cache=False))
    if args.parts and config.train.num_seeds > 1:
        raise config_lib.ConfigError("--parts: takes one agent apart; set train.num_seeds=1")
    if args.parts and config.train.update_interval > 1:
        raise config_lib.ConfigError("--parts: takes one vector step apart; set train.update_interval=1")
    if args.parts and config.algorithm.policy_delay > 1:
        raise config_lib.ConfigError("--parts: takes updates that are alike; set algorithm.policy_delay=1")
    prepare_jax(args.loaded)


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; the result is printed as one JSON object or by `print_table`."""
    import jax
    import numpy as np

    from sacbrax.bench.work import update_flops
    from sacbrax.training.memory import predicted_bytes
    from sacbrax.training.plan import Plan
    from sacbrax.training.programs import Programs
    from sacbrax.training.trainer import Trainer

    config = args.loaded
    plan, seeds = Plan.of(config), config.train.num_seeds
    trainer = Trainer(config, plan.shards)
    programs, hyper = Programs(trainer, seeds, plan), trainer.hyper()
    keys, _ = programs.keys(config.train.seed)
    compile_seconds: dict[str, float] = {}

    def compiled(name: str, *arguments: Any) -> Any:
        begin = time.perf_counter()
        program = getattr(programs, name).lower(*arguments).compile()
        compile_seconds[name] = time.perf_counter() - begin
        return program

    shapes = jax.eval_shape(programs.init, keys, hyper)
    init, prefill = compiled("init", keys, hyper), compiled("prefill", shapes, hyper)
    zero_sums = compiled("zero_sums", shapes)
    advance = compiled("advance", shapes, jax.eval_shape(programs.zero_sums, shapes), hyper, np.int32(1))

    rss_before = peak_rss_bytes()
    state = trainer.with_prior(init(keys, hyper))
    sums = zero_sums(state)
    begin = time.perf_counter()
    state = jax.block_until_ready(prefill(state, hyper))
    prefill_seconds = time.perf_counter() - begin

    def train(rounds: int) -> Any:
        nonlocal state, sums
        state, sums = advance(state, sums, hyper, np.int32(rounds))
        return state

    interval = config.iterations_per_round
    rounds = timing.count_that_takes(args.seconds, train)
    rates = [interval * rounds / timing.seconds(lambda: train(rounds)) for _ in range(args.repeats)]
    num_envs, updates = config.env.num_envs, config.train.updates_per_step / config.train.update_interval
    predicted = predicted_bytes(trainer, plan.seeds_per_device(seeds))
    memory = jax.devices()[0].memory_stats() or {}
    result = {
        "config": args.config,
        "overrides": args.overrides,
        "machine": timing.machine(),
        "num_envs": num_envs,
        "batch_size": config.train.batch_size,
        "updates_per_step": updates,
        "num_seeds": seeds,
        "num_devices": len(plan.devices),
        "compile_seconds": sum(compile_seconds.values()),
        "compile_seconds_by_function": compile_seconds,
        "exploration_env_steps_per_second": seeds * config.exploration_iterations * num_envs / prefill_seconds,
        "repeats": args.repeats,
        "vector_steps_per_call": interval * rounds,
        "env_steps_per_second": timing.spread([seeds * num_envs * rate for rate in rates])["median"],
        "gradient_steps_per_second": timing.spread([seeds * updates * rate for rate in rates])["median"],
        "vector_steps_per_second": timing.spread(rates),
        "predicted_bytes": sum(predicted.values()),
        "predicted_bytes_by_part": predicted,
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_rss_bytes_before_training": rss_before,
        "peak_device_bytes": memory.get("peak_bytes_in_use"),
    }
    if args.parts:
        flops = update_flops(config, trainer.observation_size, trainer.action_size)
        floor = updates * flops / update.matmul_rate(args.seconds / 2, args.repeats)
        whole = 1.0 / timing.spread(rates)["median"]
        result["parts"] = parts.measure(trainer, state, hyper, whole, floor, args.seconds / 2, args.repeats)
    return result


def print_table(result: dict[str, Any]) -> None:
    """The result for people."""
    rates, mebi = result["vector_steps_per_second"], 2**20
    low, high = (rates[end] / rates["median"] for end in ("lowest", "highest"))
    print(f"{result['config']}  {' '.join(result['overrides'])}".rstrip())
    updates = f"{result['updates_per_step']:g} updates a step"
    print(f"{result['num_envs']} environments, batch {result['batch_size']}, {updates}")
    print(f"  compile            {result['compile_seconds']:12.1f} s")
    print(f"  env steps          {result['env_steps_per_second']:12,.0f} /s   (exploring", end=" ")
    print(f"{result['exploration_env_steps_per_second']:,.0f} /s)")
    print(f"  gradient steps     {result['gradient_steps_per_second']:12,.0f} /s")
    print(f"  spread of {result['repeats']} calls  {low:11.2f} to {high:.2f} times the median")
    for name, part in result.get("parts", {}).items():
        floor = f"{part['floor_seconds'] * 1e6:12,.0f} us at the floor" if part["floor_seconds"] is not None else ""
        print(f"  {name:18} {part['seconds'] * 1e6:12,.0f} us a vector step, {part['share']:4.0%} {floor}")
    print(f"  memory predicted   {result['predicted_bytes'] / mebi:12,.1f} MiB")
    if result["peak_device_bytes"]:
        print(f"  peak on the device {result['peak_device_bytes'] / mebi:12,.1f} MiB")
    if result["peak_rss_bytes"]:
        before = result["peak_rss_bytes_before_training"] / mebi
        print(f"  peak of the process{result['peak_rss_bytes'] / mebi:12,.1f} MiB   ({before:,.1f} before training)")
