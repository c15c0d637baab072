"""Where a vector step's time goes: physics, replay and update as programs of their own, each beside its floor.

A floor is what the same machine needs, in the same run, for the least that the part has to do:

    physics   the engine's step of every environment, without time limits, resets and the search for faults
    replay    writing and reading the rows once, at the speed of a plain copy of as many bytes
    update    the products of its networks, at the speed of the machine's own matrix product

What the whole step takes beyond the three parts is acting, normalizing and summing metrics: the rest. Parts overlap
inside the whole program where the device allows it, so the rest may come out negative.
"""

import statistics
from collections.abc import Callable
from typing import Any

from sacbrax.bench import timing
from sacbrax.config import Config


def measure(
    trainer: Any, state: Any, hyper: Any, whole: float, update_floor: float, seconds: float, repeats: int
) -> dict[str, dict[str, float | None]]:
    """Seconds, floor and share of each part of a vector step that takes `whole` seconds. One agent, one device."""
    from sacbrax.envs import compiler_options

    options = compiler_options(trainer.env)
    programs = _programs(trainer, state, hyper, options)
    taken = {name: _seconds(loop, start, options, seconds, repeats) for name, (loop, start) in programs.items()}
    floors = {"physics": taken.pop("engine"), "replay": taken.pop("copy"), "update": update_floor}
    rest = whole - sum(taken.values())
    parts: dict[str, dict[str, float | None]] = {
        name: {"seconds": value, "floor_seconds": floors[name], "share": value / whole} for name, value in taken.items()
    }
    return parts | {"rest": {"seconds": rest, "floor_seconds": None, "share": rest / whole}}


def _programs(
    trainer: Any, state: Any, hyper: Any, options: dict[str, Any]
) -> dict[str, tuple[Callable[[Any, Any], Any], Any]]:
    """Loop bodies `(carry, key) -> carry`, and what they start from."""
    import jax
    import jax.numpy as jnp

    from sacbrax.training import replay as replay_lib

    config: Config = trainer.config
    num_envs, updates, batch_size = config.env.num_envs, config.train.updates_per_step, config.train.batch_size
    n_step, action_size = config.algorithm.n_step, trainer.action_size
    action = jax.random.uniform(jax.random.key(0), (num_envs, action_size), minval=-1.0, maxval=1.0)
    _, step = jax.jit(trainer.vector_env.step, compiler_options=options)(state.env, action, jax.random.key(1))

    def sample(replay: Any, key: Any) -> Any:
        return replay_lib.sample(replay, key, updates * batch_size, n_step, hyper["gamma"], jnp.zeros(()))

    batch = jax.jit(sample)(state.replay, jax.random.key(2))
    batches = jax.tree.map(lambda x: x.reshape(updates, batch_size, *x.shape[1:]), batch)

    def physics(env: Any, key: Any) -> Any:
        return trainer.vector_env.step(env, action, key)[0]

    def engine(env: Any, key: Any) -> Any:
        return jax.vmap(trainer.env.step)(env, action)

    def replay(carry: Any, key: Any) -> Any:
        replay, _ = carry
        replay = replay_lib.insert(replay, step.transition, step.first, step.valid)
        return replay, sample(replay, key)

    def update(agent: Any, key: Any) -> Any:
        keys = jax.random.split(key, updates)
        return jax.lax.scan(lambda agent, xs: (trainer.agent.update(agent, xs[0], hyper, xs[1])[0], None), agent,
                            (batches, keys))[0]  # fmt: skip

    rows = num_envs + updates * batch_size * (1 if n_step == 1 else 2)  # with n steps a row's two ends are two gathers
    numbers = jnp.zeros((rows, state.replay.rows.shape[1]), state.replay.rows.dtype)
    return {
        "physics": (physics, state.env),
        "engine": (engine, state.env.state),
        "replay": (replay, (state.replay, batch)),
        "copy": (lambda x, key: x + 1, numbers),
        "update": (update, state.agent),
    }


def _seconds(
    body: Callable[[Any, Any], Any], start: Any, options: dict[str, Any], seconds: float, repeats: int
) -> float:
    """Median seconds of one pass of a compiled loop."""
    import jax
    import jax.numpy as jnp

    def passes(carry: Any, count: Any) -> Any:
        return jax.lax.fori_loop(0, count, lambda i, c: body(c, jax.random.fold_in(jax.random.key(3), i)), carry)

    loop = jax.jit(passes, compiler_options=options)
    count = timing.count_that_takes(seconds, lambda count: loop(start, jnp.int32(count)))
    taken = statistics.median(timing.seconds(lambda: loop(start, jnp.int32(count))) for _ in range(repeats))
    empty = statistics.median(timing.seconds(lambda: loop(start, jnp.int32(0))) for _ in range(repeats))
    return max(taken - empty, 0.0) / count  # a call copies its start: the loop may not touch the caller's arrays
