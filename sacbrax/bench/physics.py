"""Benchmark of the physics: environment steps per second of every engine from the same states, on the same actions.

Competitors alternate, so that a change of the machine's speed hits all of them; figures are medians. Nothing here
imports JAX before `prepare`, which gives XLA:CPU one device per core: it runs a loop on one core each.
"""

import argparse
import statistics
from typing import Any

import numpy as np

from sacbrax.bench import timing
from sacbrax.bench.physics_engines import ENGINES, Run, Subject, Unavailable, chunk
from sacbrax.cli import COUNT, duration
from sacbrax.core.machine import cpus, installed

# That `fused` steps.
TASKS = ("swimmer", "halfcheetah_v5", "hopper_v5", "walker2d_v5", "inverted_pendulum_v5", "ant_v5")
NUM_ENVS = (1, 64, 1024, 4096, 65536)
LARGEST_ON_CPU = {"mjx": 1024}  # by default: beyond it one call takes minutes, or XLA's threads wait for ever
SHOWN_AS_MEASURED = True  # the whole table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES), help="what to measure")
    parser.add_argument("--num-envs", nargs="+", type=COUNT, help=f"batch sizes (default {NUM_ENVS})")
    parser.add_argument("--task", choices=TASKS, default="swimmer", help="what to step (default swimmer)")
    parser.add_argument("--links", type=COUNT, default=3, help="links of the swimmer (default 3)")
    parser.add_argument("--policy", help="step the states of this policy with its own actions, not random ones")
    parser.add_argument("--repeats", type=COUNT, default=5, help="measurements, of which the median counts")
    parser.add_argument("--seconds", type=duration, default=0.5, help="time to spend on one measurement (default 0.5)")


def prepare(args: argparse.Namespace) -> None:
    """Before JAX is imported: as many host devices as there are cores. A policy that is not there is found now."""
    timing.add_xla_flag(f"--xla_force_host_platform_device_count={cpus()}")
    if args.policy is not None:
        from sacbrax.policy_file.files import load_policy

        load_policy(args.policy)


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Every row is printed as soon as it is measured; whatever is printed here goes to standard error."""
    import jax

    subject = Subject(args.task, args.links, args.policy)
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    facts = {
        "task": subject.task,
        "links": subject.links,
        "policy": subject.policy,
        "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
        "cores": cpus(),
        "versions": installed("jax", "mujoco", "mujoco-mjx", "warp-lang"),
    }
    print(heading(facts))
    for n in args.num_envs or NUM_ENVS:
        engines = [engine for engine in args.engines if engine not in skipped]
        if args.num_envs is None and jax.default_backend() == "cpu":
            for engine in [engine for engine in engines if n > LARGEST_ON_CPU.get(engine, n)]:
                engines.remove(engine)
                insists = f"--engines {engine} --num-envs {n} insists"
                print(f"{engine:8} {n:7d} left out: one call takes minutes or does not end; {insists}")
        for row in measure(engines, n, subject, args.repeats, args.seconds, skipped):
            rows.append(row)
            print(line(row, rows), flush=True)
    for engine, reason in skipped.items():
        print(f"{engine} skipped: {reason}")
    return {"physics": rows, "skipped": skipped} | facts


def measure(
    engines: list[str], n: int, subject: Subject, repeats: int, seconds: float, skipped: dict[str, str]
) -> list[dict[str, Any]]:
    """One row per engine with `n` environments; engines that cannot run are noted in `skipped`.

    A measurement runs for about `seconds`, or for one call where that takes longer; an engine that has had twice the
    seconds of all its `repeats` gets no more of them, and its row says so.
    """
    runs: dict[str, tuple[Run, int]] = {}
    compile_seconds, first = {}, {}
    for engine in engines:
        try:
            run, compile_seconds[engine] = ENGINES[engine](engine, n, subject)
        except Unavailable as reason:
            skipped[engine] = str(reason)
            continue
        first[engine] = run(1)
        if first[engine] < seconds:  # not worth a second one where a call takes long: it is compiled already
            first[engine] = run(1)
        runs[engine] = run, int(np.clip(seconds / first[engine], 1, 1000))
    # A call that takes long is a measurement from the start.
    times = {engine: [first[engine]] if first[engine] > repeats * seconds else [] for engine in runs}
    for _ in range(repeats):
        for engine, (run, calls) in runs.items():
            if sum(times[engine]) < 2 * repeats * seconds and len(times[engine]) < repeats:
                times[engine].append(run(calls))
    rows = []
    for engine, (_, calls) in runs.items():
        rates = [n * calls * chunk(n) / elapsed for elapsed in times[engine]]
        rows.append(
            {
                "engine": engine,
                "num_envs": n,
                "env_steps_per_second": statistics.median(rates),
                "lowest": min(rates),
                "highest": max(rates),
                "compile_seconds": compile_seconds[engine],
                "repeats": len(rates),
                "vector_steps_per_repeat": calls * chunk(n),
                "seconds_per_repeat": statistics.median(times[engine]),
                "short_of_repeats": len(rates) < repeats,
            }
        )
    return rows


HEADER = (
    f"{'engine':8} {'envs':>7} {'env steps/s':>13} {'lowest':>13} {'highest':>13} {'compile s':>10} {'fused is':>10}"
)


def line(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """A row for people, with the fused engine's lead over it."""
    rate, n = row["env_steps_per_second"], row["num_envs"]
    fused = [r["env_steps_per_second"] for r in rows if (r["engine"], r["num_envs"]) == ("fused", n)]
    lead = f"{fused[0] / rate:9.1f}x" if fused else ""
    note = f"  {row['repeats']} repeat(s) of {row['seconds_per_repeat']:.1f} s" if row["short_of_repeats"] else ""
    return (
        f"{row['engine']:8} {n:7d} {rate:13,.0f} {row['lowest']:13,.0f} {row['highest']:13,.0f}"
        f" {row['compile_seconds']:10.1f} {lead:>10}{note}"
    )


def heading(facts: dict[str, Any]) -> str:
    """What was measured on what, and the names of the columns."""
    links = f", {facts['links']} links" if facts["task"] == "swimmer" else ""
    policy = f", states and actions of the policy {facts['policy']}" if facts["policy"] else ""
    return f"{facts['task']}{links}{policy}; {facts['device']}, {facts['cores']} cores; {facts['versions']}\n{HEADER}"


def print_table(result: dict[str, Any]) -> None:
    """The whole table, for a standard output that is not where the rows were shown as they were measured."""
    print(heading(result))
    for row in result["physics"]:
        print(line(row, result["physics"]))
