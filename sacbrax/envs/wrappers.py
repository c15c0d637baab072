"""Environments around one environment: the same action several times, and an observation that is a dictionary as one
array.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

from sacbrax.config import ConfigError
from sacbrax.core.types import Array, Key
from sacbrax.engines.upstream import Env, State
from sacbrax.envs import curriculum
from sacbrax.envs.doubled import state_is_doubled


class Wrapper(Env):
    """`env` itself; subclasses change what they are for."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def reset(self, rng: Key, **given: Any) -> State:
        """As the environment's; `given` are the numbers of a curriculum, for one that takes them."""
        return self.env.reset(rng, **given)

    def step(self, state: State, action: Array) -> State:
        """As the environment's."""
        return self.env.step(state, action)

    @property
    def observation_size(self) -> Any:
        return self.env.observation_size

    @property
    def actor_observation_size(self) -> int | None:
        """How many of the first entries of an observation the policy may see; None for all."""
        return getattr(self.env, "actor_observation_size", None)

    @property
    def observation_parts(self) -> dict[str, int]:
        """Sizes by name of what an observation consists of, in order."""
        return observation_parts(self.env)

    @property
    def action_size(self) -> int:
        return self.env.action_size

    @property
    def reset_pool(self) -> int:
        """How many starts the environment would rather have computed in advance, for resets to draw from."""
        return getattr(self.env, "reset_pool", 0)

    @property
    def takes_curriculum(self) -> bool:
        """Whether a reset is given the numbers of a curriculum."""
        return takes_curriculum(self.env)

    @property
    def backend(self) -> str:
        return self.env.backend

    @property
    def unwrapped(self) -> Env:
        return self.env.unwrapped


def takes_curriculum(env: Any) -> bool:
    """Whether a reset of `env` is given the numbers of a curriculum."""
    return env.takes_curriculum if isinstance(env, Wrapper) else curriculum.takes(env.reset)


def observation_parts(env: Any) -> dict[str, int]:
    """Sizes by name of what an observation consists of, in order; one part where `env` does not tell."""
    return getattr(env, "observation_parts", {"observation": int(env.observation_size)})


class ActionRepeat(Wrapper):
    """Each action `times` times, their rewards summed; nothing happens any more once the episode has ended."""

    def __init__(self, env: Any, times: int) -> None:
        super().__init__(env)
        self.times = times

    def step(self, state: State, action: Array) -> State:
        """action [A] in [-1, 1], for all of the steps."""

        def again(state: State, _: None) -> tuple[State, None]:
            new = self.env.step(state, action)
            new = new.replace(reward=state.reward + new.reward)
            return jax.tree.map(lambda new, old: jnp.where(state.done > 0, old, new), new, state), None

        start = state.replace(reward=jnp.zeros_like(state.reward), done=jnp.zeros_like(state.done))
        return jax.lax.scan(again, start, None, self.times)[0]


class FlatObservation(Wrapper):
    """A dictionary of arrays as one array: `state`, which the policy sees, then `privileged_state`, if there is one.

    Critics see both. A `privileged_state` that begins with `state` is that array by itself: nothing is there twice.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        shapes = {name: shape if isinstance(shape, tuple) else (shape,) for name, shape in env.observation_size.items()}
        names = [name for name in ("state", "privileged_state") if name in shapes]
        if "state" not in shapes or len(names) < len(shapes):
            raise ConfigError(
                f"env.name: the task observes {', '.join(shapes)}; covered are one array, or state with or without "
                "privileged_state"
            )
        self._seen = math.prod(shapes["state"]) if len(names) > 1 else None
        self._doubled = len(names) > 1 and state_is_doubled(env)
        self._names = names[1:] if self._doubled else names
        self._shapes = [shapes[name] for name in self._names]
        self._sizes = [math.prod(shape) for shape in self._shapes]

    def reset(self, rng: Key, **given: Any) -> State:
        return self._flat(self.env.reset(rng, **given))

    def step(self, state: State, action: Array) -> State:
        """action [A] in [-1, 1]; the task is given its own dictionary."""
        splits = list(itertools.accumulate(self._sizes))[:-1]
        parts = zip(self._names, jnp.split(state.obs, splits), self._shapes, strict=True)
        obs = {name: x.reshape(shape) for name, x, shape in parts}
        if self._doubled:
            obs["state"] = obs["privileged_state"][: self._seen]
        return self._flat(self.env.step(state.replace(obs=obs), action))

    def _flat(self, state: State) -> State:
        obs: Any = state.obs
        return state.replace(obs=jnp.concatenate([obs[name].ravel() for name in self._names]))

    @property
    def observation_size(self) -> int:
        return sum(self._sizes)

    @property
    def observation_parts(self) -> dict[str, int]:
        if not self._doubled or self._seen is None:
            return dict(zip(self._names, self._sizes, strict=True))
        rest = {f"privileged_state[{self._seen}:]": self._sizes[0] - self._seen}
        return {"state": self._seen} | (rest if self._sizes[0] > self._seen else {})

    @property
    def actor_observation_size(self) -> int | None:
        return self._seen
