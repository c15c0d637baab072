"""A model of how long a vector step of a configuration takes on a machine: predicted from counts, not measured.

    seconds = physics + products or bytes, whichever takes longer + kernels + sums over devices

Operations and bytes of an update are `bench.work`'s, kernels those that a compiler was seen to make, the machine's
rates are given. docs/scaling.md compares it with what was measured.
"""

import argparse
import dataclasses
import math
from typing import Any

from sacbrax import config as config_lib
from sacbrax.cli import COUNT, file_first
from sacbrax.config import Config, ConfigError


@dataclasses.dataclass(frozen=True)
class Machine:
    """Rates of one device and of the way between devices, and the program that its compiler makes."""

    flops: float  # operations per second in large matrix products
    efficiency: float  # share of them in the small products of an update
    bandwidth: float  # bytes per second from memory
    env_steps: float  # per second, of physics with many environments
    kernels: int  # of a vector step with one update
    further_kernels: int  # of each further update in it
    kernel_seconds: float  # to start one and wait for it
    sum_seconds: float  # one sum over all devices of no bytes
    link_bandwidth: float  # bytes per second between two devices


SHORT_SUMS = 4  # in each vector step, as XLA compiles it: `bench gpu-plan swimmer --devices 8`

# Machine B of docs/benchmarks.md, two cores; rates by `bench roofline` and `bench physics`. Its efficiency and
# kernel_seconds are solved from two points of the scaling study, 256 environments with two layers of 64 and of 256, and
# predict the others. Sums over forced devices are guesses.
_B = Machine(179.5e9, 0.285, 30.1e9, 4.428e6, 387, 300, 1.3e-6, 20e-6, 15e9)
# The H100's numbers are its data sheet's (SXM: 67 TFLOP/s in float32 without tensor cores, 3.35 TB/s, NVLink 450 GB/s
# a way), kernels those of `bench gpu-plan swimmer --further`. Assumed: the efficiency and the physics' share of the
# arithmetic as on machine B, 2 us a kernel inside a CUDA graph, 15 us a sum over NVLink.
_H100 = Machine(67e12, _B.efficiency, 3.35e12, _B.env_steps * 67e12 / _B.flops, 129, 77, 2e-6, 15e-6, 450e9)
MACHINES = {
    "b": _B,
    "h100": _H100,
    # Several machines of eight: InfiniBand of 400 Gbit/s for each GPU, 40 us a sum, both assumed.
    "h100-cluster": dataclasses.replace(_H100, sum_seconds=40e-6, link_bandwidth=50e9),
}


def shared_out(config: Config, devices: int) -> tuple[int, int]:
    """Into how many parts the devices cut each agent, and how many agents each of them has."""
    if config.parallel.over == "batch":
        return devices, config.train.num_seeds
    return 1, math.ceil(config.train.num_seeds / devices)


def vector_step(config: Config, sizes: tuple[int, int], machine: Machine, devices: int = 1) -> dict[str, float]:
    """Seconds of one vector step by part. sizes: of observation and action.

    Over seeds each device has its agents to itself; over a batch each has its part of environments and minibatch, all
    kernels, and the sums: one of the gradients for each update, `SHORT_SUMS` of statistics and counts.
    """
    from sacbrax.bench import work

    parts, seeds = shared_out(config, devices)
    updates = config.train.updates_per_step / config.train.update_interval  # of each agent
    if config.train.batch_size % parts:
        raise ConfigError(f"train.batch_size: {config.train.batch_size} does not divide by {parts} devices")
    own = dataclasses.replace(
        config, train=dataclasses.replace(config.train, batch_size=config.train.batch_size // parts)
    )
    flops, moved = (count(own, *sizes) for count in (work.update_flops, work.update_bytes))
    product = flops / (machine.efficiency * machine.flops)
    kernels = machine.kernels + machine.further_kernels * (updates - 1)
    gradients = work.gradient_bytes(own, *sizes) * seeds
    sums = updates * (machine.sum_seconds + 2 * gradients / machine.link_bandwidth) + SHORT_SUMS * machine.sum_seconds
    return {
        "physics": seeds * config.env.num_envs / parts / machine.env_steps,
        "updates": updates * seeds * max(product, moved / machine.bandwidth),
        "kernels": kernels * machine.kernel_seconds,
        "sums": sums if parts > 1 else 0.0,
    }


def state_bytes(config: Config, sizes: tuple[int, int], devices: int = 1) -> int:
    """Bytes on each device of replay and networks with both moments and targets, the large parts of the state."""
    from sacbrax.bench import work
    from sacbrax.training import replay

    parts, seeds = shared_out(config, devices)
    width = 4 if config.replay.dtype == "float32" else 2
    rows = config.replay.capacity // parts * replay.row_width(*sizes) * width
    return seeds * (rows + work.network_bytes(config, *sizes))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("config", nargs="?", default="swimmer", help="YAML file or name, as for train (swimmer)")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values that replace the file's")
    parser.add_argument("--on", choices=sorted(MACHINES), default="h100", help="the machine (h100)")
    parser.add_argument("--devices", type=COUNT, nargs="+", default=[1], help="how many of them (1)")


def prepare(args: argparse.Namespace) -> None:
    """Mistakes in the configuration are found first."""
    from sacbrax.cli import prepare_jax

    config, args.overrides = file_first(args.config, args.overrides)
    args.config = config or "swimmer"
    args.loaded = config_lib.load(args.config, args.overrides)
    prepare_jax(dataclasses.replace(args.loaded, parallel=config_lib.Config().parallel))


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Predictions for each number of devices."""
    from sacbrax.training.trainer import Trainer

    config = args.loaded
    trainer = Trainer(config)
    sizes = trainer.observation_size, trainer.action_size
    rows = []
    for devices in args.devices:
        parts = vector_step(config, sizes, MACHINES[args.on], devices)
        seconds = sum(parts.values())
        steps = config.train.num_seeds * config.env.num_envs / seconds
        updates = config.train.num_seeds * config.train.updates_per_step / config.train.update_interval / seconds
        rows.append(
            {"devices": devices, "seconds": parts, "env_steps_per_second": steps}
            | {"gradient_steps_per_second": updates, "state_bytes_per_device": state_bytes(config, sizes, devices)}
        )
    return {"config": args.config, "overrides": args.overrides, "machine": args.on, "predictions": rows}


def print_table(result: dict[str, Any]) -> None:
    """A line for each number of devices."""
    print(f"{result['config']} {' '.join(result['overrides'])} on {result['machine']}: predicted, not measured")
    print(f"{'devices':>7} {'env steps/s':>14} {'updates/s':>11} {'state MiB':>10}  microseconds of a vector step")
    for row in result["predictions"]:
        parts = ", ".join(f"{name} {seconds * 1e6:,.1f}" for name, seconds in row["seconds"].items())
        steps, updates = row["env_steps_per_second"], row["gradient_steps_per_second"]
        memory = row["state_bytes_per_device"] / 2**20
        print(f"{row['devices']:7} {steps:14,.0f} {updates:11,.0f} {memory:10,.1f}  {parts}")
