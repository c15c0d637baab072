"""Environments side by side: step, time limits, fresh resets, quarantine of faults, and evaluation episodes.

Takes any Brax `Env` (one environment) and vmaps it. Knows no replay, no learning and no files.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from sacbrax.core.metrics import EPISODES, STEPS, Kind, Sums
from sacbrax.core.types import Array, Key, Transition
from sacbrax.xla import random

OVERFLOW = "contact_overflow"  # what a task calls it in the metrics of a state when contacts had no room, > 0


def physics_precision() -> Any:
    """A scope in which float32 products are computed in float32, whatever the device's or the process's default."""
    return jax.default_matmul_precision("highest")


class EnvState(struct.PyTreeNode):
    """N environments between two steps."""

    state: Any  # Brax State, leading axis [N]
    episode_step: Array  # int32 [N]
    episode_return: Array  # [N] sum of rewards of the running episode
    whole: Array  # bool [N], whether the running episode was there from its first step (clocks start staggered)
    curriculum: dict[str, Array] | None = None  # [] each: numbers that resets are given, where there are such
    pool: Any = None  # Brax State, leading axis [P]: the starts to draw from, where the environment has such a pool


class Step(struct.PyTreeNode):
    """What one vector step gives: the transitions, how they join the past, and which are sound."""

    transition: Transition  # [N]
    first: Array  # bool [N], the transition begins an episode
    valid: Array  # bool [N], False where the observations, the reward or the physics are not finite
    metrics: Sums
    details: dict[str, Array]  # what the task itself tells of the step, [N] each: rewards by part


class VectorEnv:
    """N copies of `env` with the time limit `episode_length`; a limit truncates, it does not terminate.

    Every step resets some environments, so the arithmetic of N resets is part of every step. With `reset_pool` P > 0,
    by default the environment's own `reset_pool`, it is not: P starts are computed at once, and a reset draws one of
    them, until `refreshed` computes others.
    An environment whose steps are random in themselves has a `reseed(state, key)` that makes such a start anew.
    `reward_clip` bounds the size of the rewards in transitions, not of the returns that are reported.
    """

    def __init__(
        self,
        env: Any,
        num_envs: int,
        episode_length: int,
        reset_pool: int | None = None,
        reward_clip: float | None = None,
        curriculum: Mapping[str, float] | None = None,
    ):
        self.env, self.num_envs, self.episode_length = env, num_envs, episode_length
        self.reset_pool = getattr(env, "reset_pool", 0) if reset_pool is None else reset_pool
        self._reseed = getattr(env.unwrapped, "reseed", None)
        self.reward_clip, self.curriculum = reward_clip, curriculum

    def reset(self, key: Key) -> EnvState:
        """Fresh environments whose clocks are staggered over the episode, so that resets do not come all at once."""
        key, reseed_key = self._keys(key)
        numbers = None
        if self.curriculum is not None:
            numbers = {name: jnp.asarray(number, jnp.float32) for name, number in self.curriculum.items()}
        pool = self._starts(key, self.reset_pool, numbers) if self.reset_pool else None
        if pool is None:
            state = self._starts(key, self.num_envs, numbers)
        else:
            state = self._drawn(pool, jnp.arange(self.num_envs) % self.reset_pool, reseed_key)
        place = np.arange(self.num_envs, dtype=np.int64)  # whose product with the length may overflow 32 bits
        clock = jnp.asarray(place * self.episode_length // self.num_envs, jnp.int32)
        return EnvState(
            state=state,
            episode_step=clock,
            episode_return=jnp.zeros(self.num_envs),
            whole=clock == 0,
            curriculum=numbers,
            pool=pool,
        )

    def step(self, env_state: EnvState, action: Array, key: Key) -> tuple[EnvState, Step]:
        """One step of every environment, action [N, A]. Ended and faulty environments are reset afterwards; the
        transition keeps the observation from before the reset, and the action from before it is clipped to [-1, 1]."""
        previous = env_state.state.obs
        with physics_precision():
            state = jax.vmap(self.env.step)(env_state.state, jnp.clip(action, -1.0, 1.0))
        # A start that is not finite makes the row that begins there one that is not.
        seen = jnp.where(jnp.isfinite(previous), state.obs, jnp.nan)
        valid = _all_finite((seen, state.reward, state.done, state.pipeline_state), self.num_envs)
        terminated = state.done > 0
        clock = env_state.episode_step + 1
        ended = (terminated | (clock >= self.episode_length)) & valid
        total = env_state.episode_return + state.reward
        transition = Transition(
            observation=previous,
            action=action,
            reward=state.reward if (clip := self.reward_clip) is None else jnp.clip(state.reward, -clip, clip),
            discount=1.0 - terminated,
            next_observation=state.obs,
        )
        reset = ended | ~valid
        fresh = self._fresh(env_state, key)
        counted = ended & env_state.whole
        rewards = {"reward_sum": jnp.sum(state.reward, where=valid)}
        returns = {"episode_return_sum": jnp.sum(total, where=counted)}
        counts = {STEPS: jnp.sum(valid), EPISODES: jnp.sum(counted), "faults": jnp.sum(~valid)}
        if OVERFLOW in state.metrics:
            counts["contact_overflows"] = jnp.sum(state.metrics[OVERFLOW] > 0)
        metrics = (
            Sums.of(Kind.PER_STEP, rewards, {"reward_sum": "reward_mean"})
            | Sums.of(Kind.PER_EPISODE, returns, {"episode_return_sum": "episode_return"})
            | Sums.of(Kind.COUNT, counts, {STEPS: None})
        )
        after = EnvState(
            state=jax.tree.map(lambda new, old: _select(reset, new, old), fresh, state),
            episode_step=jnp.where(reset, 0, clock),
            episode_return=jnp.where(reset, 0.0, total),
            whole=env_state.whole | reset,
            curriculum=env_state.curriculum,
            pool=env_state.pool,
        )
        return after, Step(transition, env_state.episode_step == 0, valid, metrics, dict(state.metrics))

    def refreshed(self, env_state: EnvState, key: Key) -> EnvState:
        """The same with a pool of new starts. What is under way goes on."""
        return env_state.replace(pool=self._starts(key, self.reset_pool, env_state.curriculum))

    def _fresh(self, env_state: EnvState, key: Key) -> Any:
        key, reseed_key = self._keys(key)
        if env_state.pool is None:
            return self._starts(key, self.num_envs, env_state.curriculum)
        return self._drawn(env_state.pool, random.randint(key, (self.num_envs,), 0, self.reset_pool), reseed_key)

    def _keys(self, key: Key) -> tuple[Key, Key | None]:
        """For drawing starts, and for making them anew where that is possible. A key serves once: those that
        `split` and `fold_in` make of the same one may be equal."""
        if self._reseed is None or not self.reset_pool:
            return key, None
        draw_key, reseed_key = random.split(key)
        return draw_key, reseed_key

    def _drawn(self, pool: Any, index: Array, key: Key | None) -> Any:
        """The starts at index [N]."""
        starts = _take(pool, index)
        if self._reseed is None or key is None:
            return starts
        return jax.vmap(self._reseed)(starts, random.split(key, self.num_envs))

    def _starts(self, key: Key, count: int, curriculum: Mapping[str, Array] | None) -> Any:
        with physics_precision():
            return jax.vmap(_reset(self.env, curriculum))(random.split(key, count))


def _reset(env: Any, curriculum: Mapping[str, Array] | None) -> Callable[[Key], Any]:
    """One reset with these numbers, if there are any."""
    return env.reset if curriculum is None else lambda key: env.reset(key, curriculum=curriculum)


def evaluate(
    env: Any,
    policy: Callable[[Array, Key], Array],
    key: Key,
    episodes: int,
    episode_length: int,
    curriculum: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Whole episodes side by side from fresh starts; each counts until it terminates or reaches the time limit.

    policy: observation [episodes, O], key -> action [episodes, A]. Returns `return` and `length`, both [episodes]. An
    episode that leaves the finite numbers ends there, and its return is NaN.
    """
    reset_key, key = jax.random.split(key)
    with physics_precision():
        state = jax.vmap(_reset(env, curriculum))(jax.random.split(reset_key, episodes))

    def body(carry: tuple[Any, Array, Array, Array], step_key: Key) -> tuple[Any, None]:
        state, alive, total, length = carry
        action = jnp.clip(policy(state.obs, step_key), -1.0, 1.0)
        with physics_precision():
            state = jax.vmap(env.step)(state, action)
        sound = _all_finite((state.obs, state.reward, state.done, state.pipeline_state), episodes)
        total = total + jnp.where(alive, jnp.where(sound, state.reward, jnp.nan), 0.0)
        length = length + alive
        return (state, alive & sound & (state.done == 0), total, length), None

    total = jnp.where(_all_finite(state.obs, episodes), 0.0, jnp.nan)
    start = (state, jnp.ones(episodes, bool), total, jnp.zeros(episodes, jnp.int32))
    (_, _, total, length), _ = jax.lax.scan(body, start, random.split(key, episode_length))
    return {"return": total, "length": length}


def _all_finite(tree: Any, num_envs: int) -> Array:
    """Which environments hold only finite numbers, [N] bool."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).reshape(num_envs, -1).all(axis=1) for leaf in leaves]).all(axis=0)


def _take(tree: Any, index: Array) -> Any:
    return jax.tree.map(lambda x: x[index], tree)


def _select(mask: Array, new: Array, old: Array) -> Array:
    """`new` where mask [N] says so, else `old`; both [N, ...]."""
    return jnp.where(mask.reshape(mask.shape + (1,) * (old.ndim - 1)), new, old)
