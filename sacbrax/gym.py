"""The way back: our tasks as Gymnasium environments, so that other libraries can train on the fused swimmer.

Importing this module, and nothing else, registers `sacbrax/Swimmer-v0`:

    gymnasium.make("sacbrax.gym:sacbrax/Swimmer-v0")
    gymnasium.make_vec("sacbrax.gym:sacbrax/Swimmer-v0", num_envs=1024, vectorization_mode="vector_entry_point")

Actions are in [-1, 1], arrays NumPy's and the caller's own. A vector environment is one compiled program per step; it
resets an environment in the step that ends its episode (Gymnasium's SAME_STEP), whose last observation and rewards by
part are in `infos["final_obs"]` and `infos["final_info"]`.
"""

import functools
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from sacbrax.core.types import Array, Key
from sacbrax.envs import compiled, compiler_options, make_env
from sacbrax.envs.vector_env import EnvState, VectorEnv


def _box(high: float, *shape: int) -> spaces.Box:
    return spaces.Box(-high, high, shape, np.float32)


class TaskEnv(gymnasium.Env):
    """One environment of the task `name` on `engine`, without a time limit; `options` go to the task."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self, name: str = "swimmer", engine: str | None = None, render_mode: None = None, **options: Any
    ) -> None:
        self.render_mode = render_mode
        self.task = make_env(name, engine, **options)
        self.observation_space = _box(np.inf, int(self.task.observation_size))
        self.action_space = _box(1.0, int(self.task.action_size))
        self._reset, self._step = compiled(self.task)
        self._state: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """A fresh start, drawn from Gymnasium's own generator."""
        super().reset(seed=seed)
        self._state = self._reset(jax.random.key(int(self.np_random.integers(2**32))))
        return np.array(self._state.obs), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """action [A] in [-1, 1]."""
        state = self._state = self._step(self._state, jnp.clip(jnp.asarray(action, jnp.float32), -1.0, 1.0))
        info = {name: float(value) for name, value in state.metrics.items()}
        return np.array(state.obs), float(state.reward), bool(state.done > 0), False, info


class TaskVectorEnv(gymnasium.vector.VectorEnv):
    """`num_envs` environments of the task `name`, stepped by one program, with the time limit `max_episode_steps`.

    The same vector of environments as in training: one that leaves the finite numbers is reset as at a time limit.
    Where starts are drawn from a pool, it is computed anew whenever as many were drawn as it holds.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        name: str = "swimmer",
        engine: str | None = None,
        max_episode_steps: int = 1000,
        render_mode: None = None,
        **options: Any,
    ) -> None:
        self.num_envs, self.max_episode_steps, self.render_mode = num_envs, max_episode_steps, render_mode
        self.task = make_env(name, engine, **options)
        self.single_observation_space = _box(np.inf, int(self.task.observation_size))
        self.single_action_space = _box(1.0, int(self.task.action_size))
        self.observation_space = _box(np.inf, num_envs, int(self.task.observation_size))
        self.action_space = _box(1.0, num_envs, int(self.task.action_size))
        self._vector = VectorEnv(self.task, num_envs, max_episode_steps)
        program = functools.partial(jax.jit, compiler_options=compiler_options(self.task))
        self._reset, self._step = program(self._starts), program(self._advance)
        self._state: Any = None
        self._drawn = 0  # starts since the pool is what it is

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Fresh starts of all environments; one seed serves them all."""
        super().reset(seed=seed)
        self._key = jax.random.key(int(self.np_random.integers(2**32)))
        self._state, self._drawn = self._reset(self._new_key()), 0
        return np.array(self._state.state.obs), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """actions [N, A] in [-1, 1]. Raises Gymnasium's `ResetNeeded` before the first reset."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("a step before reset: call reset first")
        actions = jnp.asarray(actions, jnp.float32)
        (self._state, self._key), out = self._step(self._state, self._key, actions)
        last, reward, terminated, truncated, metrics = jax.tree.map(np.array, out)
        ended = terminated | truncated
        infos: dict[str, Any] = {}
        if ended.any():
            final = metrics | {f"_{name}": ended.copy() for name in metrics}
            infos = {"final_obs": last, "_final_obs": ended, "final_info": final, "_final_info": ended.copy()}
            self._refresh(int(ended.sum()))
        return np.array(self._state.state.obs), reward, terminated, truncated, infos

    def _refresh(self, drawn: int) -> None:
        """Count the starts that were drawn, and compute the pool anew when it is time: by the program of `reset`."""
        self._drawn += drawn
        if 0 < self._vector.reset_pool <= self._drawn:
            self._state, self._drawn = self._state.replace(pool=self._reset(self._new_key()).pool), 0

    def _new_key(self) -> Key:
        self._key, key = jax.random.split(self._key)
        return key

    def _starts(self, key: Key) -> EnvState:
        """All of them at the start of an episode."""
        start = self._vector.reset(key)
        return start.replace(episode_step=jnp.zeros_like(start.episode_step))

    def _advance(self, state: EnvState, key: Key, actions: Array) -> tuple[Any, Any]:
        key, step_key = jax.random.split(key)
        state, step = self._vector.step(state, actions, step_key)
        terminated = step.transition.discount == 0
        truncated = (state.episode_step == 0) & ~terminated
        return (state, key), (
            step.transition.next_observation,
            step.transition.reward,
            terminated,
            truncated,
            step.details,
        )


gymnasium.register(
    id="sacbrax/Swimmer-v0",
    entry_point="sacbrax.gym:TaskEnv",
    vector_entry_point="sacbrax.gym:TaskVectorEnv",
    max_episode_steps=1000,
)
