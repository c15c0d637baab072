"""Benchmark of the physics: environment steps per second of the fused engine, MJX and C MuJoCo on the same actions.

Competitors alternate, so that a change of the machine's speed hits all of them; figures are medians. Nothing here
imports JAX before `prepare`, which gives XLA:CPU one device per core: it runs a loop on one core each.
"""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ENGINES = ("fused", "mjx", "mujoco")
NUM_ENVS = (1, 64, 1024, 4096, 65536)
WARM_UP = 40  # environment steps before the clock, so that joint limits are in play


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="what to measure")
    parser.add_argument("--num-envs", nargs="+", type=int, default=list(NUM_ENVS), help="batch sizes")
    parser.add_argument("--links", type=int, default=3, help="links of the swimmer")
    parser.add_argument("--repeats", type=int, default=5, help="measurements, of which the median counts")
    parser.add_argument("--seconds", type=float, default=0.5, help="time to spend on one measurement")


def prepare(args: argparse.Namespace) -> None:
    """Before JAX is imported: as many host devices as there are cores."""
    flag = f"--xla_force_host_platform_device_count={os.cpu_count()}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; the result is printed as one JSON object or by `print_table`."""
    rows = bench(args.engines, args.num_envs, args.links, args.repeats, args.seconds)
    import jax
    import mujoco

    versions = {"jax": jax.__version__, "mujoco": mujoco.__version__, "mujoco-mjx": _version("mujoco-mjx")}
    device = f"{len(jax.devices())} x {jax.devices()[0].device_kind}"
    return {"physics": rows, "links": args.links, "device": device, "cores": os.cpu_count(), "versions": versions}


def _version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)


def print_table(result: dict[str, Any]) -> None:
    """One line per engine and batch size, with the fused engine's lead over it."""
    rows = result["physics"]
    fused = {row["num_envs"]: row["env_steps_per_second"] for row in rows if row["engine"] == "fused"}
    print(f"swimmer, {result['links']} links; {result['device']}, {result['cores']} cores; {result['versions']}")
    print(f"{'engine':8} {'envs':>7} {'env steps/s':>13} {'compile s':>10} {'fused is':>10}")
    for row in sorted(rows, key=lambda row: (row["num_envs"], ENGINES.index(row["engine"]))):
        rate, n = row["env_steps_per_second"], row["num_envs"]
        lead = f"{fused[n] / rate:9.1f}x" if n in fused else ""
        print(f"{row['engine']:8} {n:7d} {rate:13,.0f} {row['compile_seconds']:10.1f} {lead:>10}")


def bench(
    engines: list[str], num_envs: list[int], links: int = 3, repeats: int = 5, seconds: float = 0.5
) -> list[dict[str, Any]]:
    """Rows {engine, num_envs, env_steps_per_second, compile_seconds}.

    A measurement runs for about `seconds`, or for one call where that takes longer; once an engine has had ten times
    the seconds of all its `repeats` it gets no more.
    """
    rows = []
    for n in num_envs:
        runs: dict[str, tuple[Callable[[int], float], int]] = {}
        compile_seconds = {}
        for engine in engines:
            run, compile_seconds[engine] = (_mujoco if engine == "mujoco" else _jax)(engine, n, links)
            runs[engine] = run, int(np.clip(seconds / run(1), 1, 1000))
        rates: dict[str, list[float]] = {engine: [] for engine in engines}
        spent = dict.fromkeys(engines, 0.0)
        for _ in range(repeats):
            for engine, (run, calls) in runs.items():
                if spent[engine] < 10 * seconds:
                    elapsed = run(calls)
                    rates[engine].append(n * calls * _chunk(n) / elapsed)
                    spent[engine] += elapsed
        rows += [
            {
                "engine": engine,
                "num_envs": n,
                "env_steps_per_second": statistics.median(rates[engine]),
                "compile_seconds": compile_seconds[engine],
            }
            for engine in engines
        ]
    return rows


def _chunk(n: int) -> int:
    """Environment steps in one call: several where they are short, so that dispatch costs little."""
    return max(1, min(10, 2**13 // n))


def _warm_up_calls(engine: str, n: int) -> int:
    """To `WARM_UP` steps; to one call where those would take minutes."""
    return WARM_UP // _chunk(n) if engine == "fused" or n <= 1024 else 1


@functools.cache
def _inputs(n: int, links: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """qpos [n, nq], qvel [n, nv] as at reset and ctrl [T, n, nu], the same for every engine."""
    rng = np.random.default_rng(0)
    state = rng.uniform(-0.1, 0.1, (2, n, links + 2))
    return state[0], state[1], rng.uniform(-1, 1, (_chunk(n), n, links - 1))


def _jax(engine: str, n: int, links: int) -> tuple[Callable[[int], float], float]:
    """A function calls -> seconds that so many chunks of environment steps take; and compile seconds."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh, PartitionSpec

    from sacbrax.envs import make_env

    env: Any = make_env("swimmer", engine, links=links)
    devices = jax.devices() if n % len(jax.devices()) == 0 else jax.devices()[:1]

    def chunk(qpos: Any, qvel: Any, ctrl: Any) -> Any:
        return jax.lax.scan(lambda state, u: (jax.vmap(env.engine.step)(*state, u), None), (qpos, qvel), ctrl)[0]

    row, time_row = PartitionSpec("envs"), PartitionSpec(None, "envs")
    sharded = jax.jit(
        jax.shard_map(
            chunk,
            mesh=Mesh(np.array(devices), ("envs",)),
            in_specs=(row, row, time_row),
            out_specs=(row, row),
            check_vma=False,
        )
    )
    qpos, qvel, ctrl = (jnp.asarray(x, jnp.float32) for x in _inputs(n, links))
    start = time.perf_counter()
    compiled = sharded.lower(qpos, qvel, ctrl).compile()
    compile_seconds = time.perf_counter() - start
    qpos, qvel, ctrl = jax.device_put((qpos, qvel, ctrl), compiled.input_shardings[0])
    state = qpos, qvel
    for _ in range(_warm_up_calls(engine, n)):
        state = compiled(*state, ctrl)
    jax.block_until_ready(state)

    def run(calls: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(calls):
            state = compiled(*state, ctrl)
        jax.block_until_ready(state)
        return time.perf_counter() - start

    return run, compile_seconds


def _mujoco(engine: str, n: int, links: int) -> tuple[Callable[[int], float], float]:
    """The same through `mujoco.rollout` with a thread per core, MuJoCo's own way to step a batch."""
    import mujoco
    from mujoco import rollout

    from sacbrax.envs.models import gym_swimmer
    from sacbrax.envs.swimmer import Swimmer

    model = gym_swimmer(links)
    data = [mujoco.MjData(model) for _ in range(os.cpu_count() or 1)]
    qpos, qvel, ctrl = _inputs(n, links)
    state = np.hstack([np.zeros((n, 1)), qpos, qvel])  # time, qpos, qvel
    control = np.repeat(ctrl.transpose(1, 0, 2), Swimmer.frame_skip, axis=1)

    def run(calls: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(calls):
            states, _ = rollout.rollout(model, data, state, control, persistent_pool=True, skip_checks=False)
            state = np.ascontiguousarray(states[:, -1])
        return time.perf_counter() - start

    run(_warm_up_calls(engine, n))
    return run, 0.0
