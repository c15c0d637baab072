"""Returns of a policy's deterministic actions over whole episodes, in Gymnasium's own task or on one of our engines."""

from typing import Any

import numpy as np

from sacbrax.config import ConfigError, EnvConfig
from sacbrax.config.option import build
from sacbrax.core.machine import host_bytes
from sacbrax.policy_file.files import task
from sacbrax.policy_file.numpy_policy import NumpyPolicy
from sacbrax.view.episode import gymnasium_env, in_bounds, step_gymnasium

GYMNASIUM_BYTES = 2**20  # of an environment: 1.0 MiB of Swimmer-v5, 1.2 of Humanoid-v5, resident size over 50 of them


def evaluate_gymnasium(policy: NumpyPolicy, episodes: int, seed: int) -> dict[str, np.ndarray]:
    """Whole episodes in Gymnasium's own task; `return` and `length`, [episodes] each. As on our engines a step of the
    length is as many of the task's own as the policy repeats an action.

    Raises ConfigError when the task has no Gymnasium twin or Gymnasium is not installed.
    """
    if episodes * GYMNASIUM_BYTES > host_bytes():
        raise ConfigError(f"--episodes: {episodes:,} environments of Gymnasium are more than the memory here holds")
    envs = [gymnasium_env(policy) for _ in range(episodes)]
    config: EnvConfig = build(EnvConfig, policy.header.get("env"), "env")
    observations = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    space: Any = envs[0].action_space
    total, length = np.zeros(episodes), np.zeros(episodes, np.int64)
    running = list(range(episodes))
    while running:
        actions = in_bounds(policy(observations), space)
        for i in list(running):
            length[i] += 1
            observations[i], reward, ended = step_gymnasium(envs[i], actions[i], config.action_repeat)
            total[i] += reward
            if ended:
                running.remove(i)
    for env in envs:
        env.close()
    return {"return": total, "length": length}


def evaluate_engine(
    policy: NumpyPolicy, engine: str | None, episodes: int, seed: int, *, imports: bool = False
) -> tuple[str, dict[str, np.ndarray]]:
    """Whole episodes side by side on one of our engines, by default that of training: its name, `return` and `length`,
    [episodes] each. `imports` allows the file to name a class outside the package."""
    import jax

    from sacbrax.envs import compiler_options, vector_env
    from sacbrax.training.memory import device_bytes

    env, config = task(policy, engine, imports=imports)
    start = jax.eval_shape(env.reset, jax.random.key(0))
    width = max(max(array.shape, default=1) for array in policy.arrays.values())
    numbers = sum(leaf.size for leaf in jax.tree.leaves(start)) + width
    if 4 * numbers * episodes > device_bytes():
        raise ConfigError(f"--episodes: {episodes:,} episodes side by side are more than the memory here holds")

    def act(observation: Any, key: Any) -> Any:
        shape = jax.ShapeDtypeStruct((*observation.shape[:-1], policy.action_size), np.float32)
        return jax.pure_callback(policy, shape, observation)

    def run(key: Any) -> dict[str, Any]:
        return vector_env.evaluate(env, act, key, episodes, config.episode_length)

    episodes_of = jax.jit(run, compiler_options=compiler_options(env))
    # Some tasks bring their own physics, whatever engine is asked for.
    return env.backend, {name: np.asarray(value) for name, value in episodes_of(jax.random.key(seed)).items()}
