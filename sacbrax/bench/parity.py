"""Gymnasium's own tasks beside ours: one environment step from the same states under the same actions, in float64.

The states lie on trajectories of random actions, contacts and ends of episodes among them. Differences are the largest
over all states; the observation's is relative to 1 + its size, for contact forces reach thousands.
"""

import argparse
from typing import Any

import numpy as np

from sacbrax.bench import timing
from sacbrax.cli import COUNT
from sacbrax.engines.model_warnings import unheard
from sacbrax.view.episode import GYMNASIUM_IDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    names = [name for name in GYMNASIUM_IDS if name != "swimmer"]
    parser.add_argument("--tasks", nargs="+", choices=names, default=names, help="which tasks")
    parser.add_argument("--engines", nargs="+", help="which engines; all that cover a task if absent")
    parser.add_argument("--states", type=COUNT, default=32, help="states per task")
    parser.add_argument("--solver-iterations", type=COUNT, help="cap of MJX's solver; the model's if absent")
    parser.add_argument("--ls-iterations", type=COUNT, help="cap of its line search; the model's if absent")


def prepare(args: argparse.Namespace) -> None:
    """Double precision, so that what remains is a difference and no rounding; programs that run once compile fast."""
    timing.compile_fast()
    import jax

    from sacbrax.cli import prepare_jax

    prepare_jax()
    jax.config.update("jax_enable_x64", True)


def main(args: argparse.Namespace) -> dict[str, Any]:
    """The rows of the table."""
    limits = {"solver_iterations": args.solver_iterations, "ls_iterations": args.ls_iterations}
    rows = []
    for name in args.tasks:
        for engine in args.engines or engines(name):
            rows.append(compare(name, args.states, engine=engine, **(limits if engine == "mjx" else {})))
    return {"parity": rows}


def engines(name: str) -> list[str]:
    """Those that step a task: its own, and MJX."""
    from sacbrax.config import EnvConfig
    from sacbrax.envs.registry import engine_of

    return list(dict.fromkeys([engine_of(EnvConfig(name=name)), "mjx"]))


def print_table(result: dict[str, Any]) -> None:
    """One line per row."""
    columns = (
        "task",
        "engine",
        "states",
        "in_contact",
        "ends",
        "ends_differ",
        "start",
        "physics",
        "observation",
        "reward",
    )
    widths = [27, 6, 6, *(12 for _ in columns[3:])]
    print("  ".join(f"{c:{'<' if c == 'task' else '>'}{w}}" for c, w in zip(columns, widths, strict=True)))
    for row in result["parity"]:
        cells = [f"{row[c]:.1e}" if isinstance(row[c], float) else str(row[c]) for c in columns]
        print(
            "  ".join(
                f"{cell:{'<' if i == 0 else '>'}{w}}" for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
            )
        )


def compare(name: str, states: int, seed: int = 0, **options: Any) -> dict[str, Any]:
    """Largest differences between task `name` (with `options`) and Gymnasium's; JAX must be in double precision."""
    import jax

    from sacbrax.envs import make_env

    theirs = sample(name, states, seed)
    env: Any = make_env(name, **options)

    @jax.jit
    @jax.vmap
    def step(qpos: Any, qvel: Any, action: Any) -> Any:
        start = env.at(qpos, qvel)
        return start.obs, env.step(start, action)

    start, after = jax.device_get(step(theirs["qpos"], theirs["qvel"], theirs["action"]))
    return {
        "task": name,
        "engine": env.backend,
        "states": states,
        "in_contact": int(theirs["in_contact"].sum()),
        "ends": int(theirs["terminated"].sum()),
        "ends_differ": int((after.done != theirs["terminated"]).sum()),
        "start": _difference(start, theirs["start"]),
        "physics": _difference(after.pipeline_state.qpos, theirs["next_qpos"]),
        "observation": _difference(after.obs, theirs["observation"]),
        "reward": float(np.abs(after.reward - theirs["reward"]).max()),
    }


def sample(name: str, states: int, seed: int, **given: Any) -> dict[str, np.ndarray]:
    """One step of Gymnasium's task, made with `given`, from each of `states` random states."""
    import gymnasium
    import mujoco

    with unheard():
        env: Any = gymnasium.make(GYMNASIUM_IDS[name], **given).unwrapped
    rng, rows = np.random.default_rng(seed), []
    half = (env.action_space.high - env.action_space.low) / 2
    for i in range(states):
        env.reset(seed=seed + i)
        for _ in range(rng.integers(1, 60)):
            qpos, qvel = env.data.qpos.copy(), env.data.qvel.copy()
            if env.step(rng.uniform(-1, 1, half.shape) * half)[2]:
                break  # the state before the end: from there another action ends the episode or does not
        action = rng.uniform(-1, 1, half.shape)
        mujoco.mj_resetData(env.model, env.data)
        env.set_state(qpos, qvel)
        row = {"qpos": qpos, "qvel": qvel, "action": action, "start": env._get_obs()}
        observation, reward, terminated, _, _ = env.step(action * half)
        after = {"observation": observation, "reward": reward, "terminated": terminated}
        rows.append({**row, **after, "next_qpos": env.data.qpos.copy(), "in_contact": env.data.ncon > 0})
    env.close()
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float((np.abs(ours - theirs) / (1 + np.abs(theirs))).max())
