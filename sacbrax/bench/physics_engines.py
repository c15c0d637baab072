"""The competitors of the physics benchmark: each makes a function `calls -> seconds` from the same states and actions.

A call is a chunk of environment steps of all environments. Imports of engines stay inside: some are not installed.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sacbrax.core.errors import ConfigError
from sacbrax.core.machine import cpus

WARM_UP = 40  # environment steps before the start, so that joint limits are in play
SETTLED = 200  # of a policy: at its own pace
Run = Callable[[int], float]
Competitor = Callable[[str, int, "Subject"], tuple[Run, float]]  # engine, environments -> what runs, compile seconds


class Unavailable(Exception):
    """Why a competitor cannot take part here."""


class Subject(NamedTuple):
    """What is stepped."""

    task: str  # of Gymnasium's, on one of our engines
    links: int = 3  # of a swimmer
    policy: str | None = None  # whose states are stepped, else those of random actions

    def env(self, engine: str) -> Any:
        """The task on an engine of ours."""
        from sacbrax.envs import make_env

        return make_env(self.task, engine, **({"links": self.links} if self.task == "swimmer" else {}))


def chunk(n: int) -> int:
    """Environment steps in one call: several where they are short, so that dispatch costs little."""
    return max(1, min(10, 2**13 // n))


@functools.cache
def inputs(n: int, subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """qpos [n, nq], qvel [n, nv] and ctrl [T, n, nu], the same for every engine.

    The states are those after `WARM_UP` random steps from the task's reset, or `SETTLED` of the policy. The fused
    engine takes them for all: with tens of thousands of environments the others would need minutes.
    """
    import jax
    import jax.numpy as jnp

    env = subject.env("fused")
    if subject.policy is not None:
        return _led(env, subject.policy, n)
    rng, model = np.random.default_rng(0), env.model
    qpos, qvel = (rng.uniform(-0.1, 0.1, (n, size)).astype(np.float32) for size in (model.nq, model.nv))
    qpos += model.qpos0.astype(np.float32)
    warm, ctrl = (rng.uniform(-1, 1, (t, n, model.nu)).astype(np.float32) for t in (WARM_UP, chunk(n)))
    qpos, qvel = jax.jit(lambda q, v: _scan(env, q, v, jnp.asarray(warm)))(qpos, qvel)
    return np.asarray(qpos), np.asarray(qvel), ctrl


def _led(env: Any, policy: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States that the policy comes through, and its own actions there."""
    import jax

    from sacbrax.policy_file.files import load_policy

    act = load_policy(policy)
    if act.input_size != env.observation_size:
        raise ConfigError(f"--policy: {policy} sees {act.input_size} numbers, a state has {env.observation_size}")
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), n))
    step, motors = jax.jit(jax.vmap(env.step)), jax.jit(jax.vmap(env.ctrl))
    for _ in range(SETTLED):
        state = step(state, act(np.asarray(state.obs)))
    start, ctrl = state.pipeline_state, []
    for _ in range(chunk(n)):
        action = act(np.asarray(state.obs))
        ctrl.append(np.asarray(motors(action)))
        state = step(state, action)
    qpos = np.array(start.qpos)
    qpos[:, : getattr(env, "travels", 0)] = 0  # as the task does at each step: far from the origin float32 is coarse
    return qpos, np.asarray(start.qvel), np.stack(ctrl)


def _scan(env: Any, qpos: Any, qvel: Any, ctrl: Any) -> Any:
    import jax

    return jax.lax.scan(lambda state, u: (jax.vmap(env.engine.step)(*state, u), None), (qpos, qvel), ctrl)[0]


def with_jax(engine: str, n: int, subject: Subject) -> tuple[Run, float]:
    """One of our engines, its environments shared out over all devices; and compile seconds."""
    import jax
    from jax.sharding import Mesh, PartitionSpec

    env = subject.env(engine)
    devices = jax.devices() if n % len(jax.devices()) == 0 else jax.devices()[:1]
    row, time_row = PartitionSpec("envs"), PartitionSpec(None, "envs")
    sharded = jax.jit(
        jax.shard_map(
            functools.partial(_scan, env),
            mesh=Mesh(np.array(devices), ("envs",)),
            in_specs=(row, row, time_row),
            out_specs=(row, row),
            check_vma=False,
        )
    )
    arguments = inputs(n, subject)
    start = time.perf_counter()
    compiled = sharded.lower(*arguments).compile()
    compile_seconds = time.perf_counter() - start
    qpos, qvel, ctrl = jax.device_put(arguments, compiled.input_shardings[0])
    state = qpos, qvel

    def run(calls: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(calls):
            end = compiled(*state, ctrl)
            if subject.policy is None:
                state = end
            else:  # whose actions fit its own states alone: the next call does not wait for this one by itself
                jax.block_until_ready(end)
        jax.block_until_ready(end)
        return time.perf_counter() - start

    return run, compile_seconds


def with_mujoco(engine: str, n: int, subject: Subject) -> tuple[Run, float]:
    """C MuJoCo through `mujoco.rollout` with a thread per core, its own way to step a batch."""
    import mujoco
    from mujoco import rollout

    env = subject.env("fused")
    model = env.model
    data = [mujoco.MjData(model) for _ in range(cpus())]
    qpos, qvel, ctrl = inputs(n, subject)
    state = np.hstack([np.zeros((n, 1)), qpos, qvel])  # time, qpos, qvel
    control = np.repeat(ctrl.transpose(1, 0, 2), env.frame_skip, axis=1).astype(float)

    def run(calls: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(calls):
            states, _ = rollout.rollout(model, data, state, control, persistent_pool=True, skip_checks=False)
            if subject.policy is None:
                state = np.ascontiguousarray(states[:, -1])
        return time.perf_counter() - start

    return run, 0.0


def on_a_gpu(competitor: Competitor) -> Competitor:
    """The same where JAX sees a GPU that it can use; elsewhere it is unavailable."""

    def measured(engine: str, n: int, subject: Subject) -> tuple[Run, float]:
        import jax

        if jax.default_backend() != "gpu":
            raise Unavailable("JAX sees no GPU")
        try:
            return competitor(engine, n, subject)
        except ConfigError as error:
            raise Unavailable(str(error)) from None

    return measured


def with_kernel(engine: str, n: int, subject: Subject) -> tuple[Run, float]:
    """The fused engine with an environment's step as one kernel. Raises `ConfigError` for a GPU that has none."""
    import jax

    from sacbrax.engines.batched import as_one_kernel
    from sacbrax.xla.one_kernel import has_triton

    has_triton(jax.devices()[0])
    with as_one_kernel():
        return with_jax("fused", n, subject)


ENGINES: dict[str, Competitor] = {
    "fused": with_jax,
    "fused_kernel": on_a_gpu(with_kernel),
    "mjx": with_jax,
    "mujoco": with_mujoco,
    "warp": on_a_gpu(with_jax),  # MuJoCo Warp: on a CPU it is there for tests
}
