"""Benchmark against other SAC implementations: the same harness, batch, networks and update ratio for all.

Each peer runs in a virtual environment of its own below the user's cache directory, with the versions that
peer_drivers/NAME.txt pins; a peer that cannot be installed or fails is skipped, with the reason. Sacbrax runs through
the same harness, once with the peers' settings and once with those of its shipped swimmer.yaml.
"""

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacbrax.bench import virtual_environments
from sacbrax.cli import COUNT, duration
from sacbrax.config import ConfigError
from sacbrax.core.machine import cpus

DRIVERS = Path(__file__).parent / "peer_drivers"
ROOT = DRIVERS.parent.parent.parent
GYMNASIUM, BRAX = "Gymnasium Swimmer-v5", "Brax swimmer, generalized"


@dataclass(frozen=True)
class Peer:
    """How one competitor is run."""

    driver: str  # peer_drivers/DRIVER.py, and DRIVER.txt with its versions unless it runs in this interpreter
    task: str
    own: bool = False
    directory: Path = DRIVERS


PEERS = {
    "sacbrax": Peer("sacbrax_sac", "Swimmer-v5 on the fused engine", own=True),
    "brax": Peer("brax_sac", BRAX),
    "rejax": Peer("rejax_sac", BRAX),
    "sbx": Peer("sbx_sac", GYMNASIUM),
    "sb3": Peer("sb3_sac", GYMNASIUM),
    "cleanrl-style": Peer("cleanrl_style", GYMNASIUM),
}
SCENARIOS: dict[str, dict[str, Any]] = {
    "A": {"num_envs": 1, "updates": 1},
    "B": {"num_envs": 64, "updates": 64},
    "shipped": {"num_envs": 256, "updates": 1, "config": "swimmer"},  # sacbrax only
}
SETTINGS: dict[str, Any] = {
    "batch_size": 256,
    "hidden": [256, 256],
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "tau": 0.005,
    "capacity": 102_400,
    "exploration": 1024,
    "chunk": 256,
    "evaluate_every": 4,
    "episodes": 8,
    "goals": [30, 100, 345],
}
GRACE = 420.0  # seconds for imports, compilation and evaluations beyond the cap, on a slow machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS), help="which (default: all)")
    parser.add_argument(
        "--scenarios",
        nargs="+",
        choices=list(SCENARIOS),
        default=list(SCENARIOS),
        help="A: 1 environment, 1 update per step; B: 64 and 64; shipped: sacbrax with configs/swimmer.yaml",
    )
    parser.add_argument(
        "--cap", type=duration, default=30.0, help="seconds of training after the first window (default 30)"
    )
    parser.add_argument("--passes", type=COUNT, default=2, help="runs of each, by turns (default 2)")
    parser.add_argument("--chunk", type=COUNT, default=256, help="updates in one timed window (default 256)")
    parser.add_argument("--prepare", action="store_true", help="only make the virtual environments")


def prepare(args: argparse.Namespace) -> None:
    """Check what argparse cannot."""
    if args.chunk % 64:
        raise ConfigError("--chunk: must be a multiple of 64, the updates of a vector step of scenario B")


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Run every peer by turns; each run is printed to standard error when it ends."""
    skipped: dict[str, str] = {}
    pythons: dict[str, str] = {}
    for name in args.peers:
        try:
            pythons[name] = environment(PEERS[name])
        except RuntimeError as error:
            skipped[name] = f"cannot be installed: {error}"
            print(f"{name} skipped: {skipped[name]}")
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    if not args.prepare:
        print(HEADER)
    for number in range(0 if args.prepare else args.passes):
        for scenario in args.scenarios:
            for name in pythons:
                if f"{name} {scenario}" in skipped or ("config" in SCENARIOS[scenario] and not PEERS[name].own):
                    continue
                job = SETTINGS | {"seed": number, "cap": args.cap, "chunk": args.chunk} | SCENARIOS[scenario]
                try:
                    result = run(pythons[name], PEERS[name], job)
                except RuntimeError as error:
                    skipped[f"{name} {scenario}"] = str(error)
                    print(f"{name} {scenario} skipped: {error}")
                    continue
                runs.setdefault((name, scenario), []).append(result)
                print(line(summarize(name, scenario, [result])), flush=True)
    return {
        "peers": [summarize(*key, results) for key, results in runs.items()],
        "runs": [{"peer": name, "scenario": s, "passes": results} for (name, s), results in runs.items()],
        "skipped": skipped,
        "settings": SETTINGS | {"cap": args.cap, "passes": args.passes, "chunk": args.chunk},
        "cores": cpus(),
    }


def environment(peer: Peer) -> str:
    """The interpreter that runs `peer`, its packages installed. RuntimeError says why that cannot be had."""
    if peer.own:
        return sys.executable
    requirements = peer.directory / f"{peer.driver}.txt"
    arguments = ["-r", str(requirements)]
    return virtual_environments.environment(f"peers/{peer.driver}", requirements.read_text(), arguments)


def run(python: str, peer: Peer, job: dict[str, Any]) -> dict[str, Any]:
    """What the driver measured. RuntimeError with the last line of its complaint if it fails."""
    path = os.pathsep.join(filter(None, [str(ROOT) if peer.own else "", os.environ.get("PYTHONPATH", "")]))
    script = str(peer.directory / f"{peer.driver}.py")
    output = virtual_environments.command(
        [python, script, json.dumps(job)], timeout=job["cap"] + GRACE, env={**os.environ, "PYTHONPATH": path}
    )
    return parse(output)


def parse(output: str) -> dict[str, Any]:
    """The JSON object on the last line of a driver's output; libraries may print before it."""
    lines = output.strip().splitlines()
    try:
        result = json.loads(lines[-1])
        if len(result["gradient_steps_per_second"]) < 2:
            raise KeyError
    except (IndexError, ValueError, KeyError, TypeError):
        raise RuntimeError(f"the driver printed no result but {lines[-1:]}") from None
    return result


def summarize(peer: str, scenario: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table: medians over the windows of all passes, and of the passes' times."""

    def middle(values: Iterable[float | None]) -> float | None:
        present = [value for value in values if value is not None]
        return statistics.median(present) if present else None

    def windows(key: str) -> list[float]:
        return [rate for result in results for rate in result[key][1:]]  # the first is still warming up

    reached = {}
    for goal in map(str, SETTINGS["goals"]):
        times = (result["seconds_to_return"][goal] for result in results)
        median = statistics.median(math.inf if time is None else time for time in times)
        reached[goal] = median if math.isfinite(median) else None  # half of the passes or more did not get there
    return {
        "peer": peer,
        "scenario": scenario,
        "task": PEERS[peer].task if peer in PEERS else "",
        "env_steps_per_second": middle(windows("env_steps_per_second")),
        "gradient_steps_per_second": middle(windows("gradient_steps_per_second")),
        "setup_seconds": middle(result["setup_seconds"] for result in results),
        "peak_rss_bytes": max(result["peak_rss_bytes"] for result in results),
        "seconds_to_return": reached,
        "best_return": middle(result["best_return"] for result in results),
        "passes": len(results),
        "versions": results[0]["versions"],
    }


HEADER = (
    f"{'peer':14} {'scenario':8} {'env steps/s':>12} {'updates/s':>10} {'setup s':>8} {'peak MB':>8}"
    f" {'s to 30':>8} {'to 100':>8} {'to 345':>8} {'return':>8}"
)


def line(row: dict[str, Any]) -> str:
    """A row for people; a dash where a return was not reached."""
    reached = [f"{t:8.1f}" if t is not None else f"{'-':>8}" for t in row["seconds_to_return"].values()]
    best = f"{row['best_return']:8.1f}" if row["best_return"] is not None else f"{'-':>8}"
    return (
        f"{row['peer']:14} {row['scenario']:8} {row['env_steps_per_second']:12,.0f}"
        f" {row['gradient_steps_per_second']:10,.0f} {row['setup_seconds']:8.1f} {row['peak_rss_bytes'] / 1e6:8,.0f}"
        f" {' '.join(reached)} {best}"
    )


def print_table(result: dict[str, Any]) -> None:
    """The whole table on standard output."""
    print(f"batch {SETTINGS['batch_size']}, hidden {SETTINGS['hidden']}, {result['cores']} cores")
    print(HEADER)
    for row in sorted(result["peers"], key=lambda row: list(SCENARIOS).index(row["scenario"])):
        print(line(row))
    for name, reason in result["skipped"].items():
        print(f"{name} skipped: {reason}")
