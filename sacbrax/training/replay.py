"""Replay on the device: a ring of packed rows as pure functions, `init`, `insert`, `sample`.

One row is one transition, laid out so that a minibatch is one gather:

    observation [O] | action [A] | next_observation [O] | reward | discount | first

`first` marks a row that does not continue the row before it of the same environment (an episode began, or the
environment was reset after a fault), so an n-step window stops there whether the episode ended or was cut.
The N environments write side by side: the row after row i of the same environment is row i + N. Insert and sample cost
what they touch, whatever the capacity. Everything is uniform over all stored rows; a window that reaches the newest row
bootstraps from there.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.core.types import Array, Key, Transition
from sacbrax.xla import random


class ReplayState(struct.PyTreeNode):
    """The ring. `num_envs` is static: it is the stride between successive rows of one environment."""

    rows: Array  # [capacity, 2 O + A + 3]; bfloat16 as its bits, uint16: see `encode`
    insert_index: Array  # int32 [], where the next block of N rows begins
    size: Array  # int32 [], rows written so far, at most the capacity
    observation_size: int = struct.field(pytree_node=False)
    action_size: int = struct.field(pytree_node=False)
    num_envs: int = struct.field(pytree_node=False)

    @property
    def capacity(self) -> int:
        return self.rows.shape[-2]


def row_width(observation_size: int, action_size: int) -> int:
    """Numbers stored per transition."""
    return 2 * observation_size + action_size + 3


def init(
    capacity: int, num_envs: int, observation_size: int, action_size: int, dtype: Any = jnp.float32
) -> ReplayState:
    """An empty ring. Raises ValueError when it cannot hold one row of every environment."""
    if capacity < num_envs:
        raise ValueError(f"replay capacity {capacity} is smaller than num_envs {num_envs}")
    return ReplayState(
        rows=encode(jnp.zeros((capacity, row_width(observation_size, action_size))), dtype),
        insert_index=jnp.zeros((), jnp.int32),
        size=jnp.zeros((), jnp.int32),
        observation_size=observation_size,
        action_size=action_size,
        num_envs=num_envs,
    )


def insert(replay: ReplayState, transition: Transition, first: Array, valid: Array) -> ReplayState:
    """Write one row per environment over the oldest ones. transition [N, ...], first [N] bool, valid [N] bool.

    An invalid row (a fault of the physics) is not stored: its place, which keeps the rows of the other environments
    aligned, is taken by a copy of a valid row marked `first`. With no valid row at all nothing is written.
    """
    first = first | ~valid
    block = jnp.concatenate(
        [
            transition.observation,
            transition.action,
            transition.next_observation,
            transition.reward[:, None],
            transition.discount[:, None],
        ],
        axis=-1,
    )
    donor = block[jnp.argmax(valid)]
    block = jnp.where(valid[:, None], block, donor[None, :])
    dtype = jnp.bfloat16 if replay.rows.dtype == jnp.uint16 else replay.rows.dtype
    block = encode(jnp.concatenate([block, first[:, None]], axis=-1), dtype)
    any_valid = jnp.any(valid)
    written = jnp.where(any_valid, replay.num_envs, 0)
    return replay.replace(
        rows=_write(replay.rows, block, replay.insert_index, any_valid),
        insert_index=(replay.insert_index + written) % replay.capacity,
        size=jnp.minimum(replay.size + written, replay.capacity),
    )


def _write(rows: Array, block: Array, start: Array, enabled: Array) -> Array:
    capacity, num_rows = rows.shape[0], block.shape[0]
    if capacity % num_rows == 0:  # blocks never wrap: one contiguous write, in place
        old = jax.lax.dynamic_slice_in_dim(rows, start, num_rows)
        return jax.lax.dynamic_update_slice_in_dim(rows, jnp.where(enabled, block, old), start, axis=0)
    index = jnp.where(enabled, (start + jnp.arange(num_rows)) % capacity, capacity)  # the capacity itself is dropped
    return rows.at[index].set(block, mode="drop", unique_indices=True)


def sample(
    replay: ReplayState, key: Key, batch_size: int, n_step: int, gamma: Array, reward_offset: Array
) -> Transition:
    """Draw n-step transitions uniformly, with replacement, from all rows written so far.

    Returns a Transition [B, ...] whose reward is sum_k gamma^k (r_k - reward_offset) over the steps of the window and
    whose discount is gamma^m when none of its m <= n steps terminated, else 0; next_observation is the last step's.
    The ring must not be empty (the caller fills it first).
    """
    start = random.randint(key, (batch_size,), 0, replay.size)  # [B] age rank: 0 is the oldest row
    rank = start[:, None] + replay.num_envs * jnp.arange(n_step)[None, :]  # [B, n]
    oldest = replay.insert_index - replay.size
    position = (oldest + rank) % replay.capacity
    step = _flags(replay, position)  # reward, discount, first [B, n]
    # Step k belongs to the window when it is written, does not begin a new episode, and no step before it ended one.
    follows = (rank < replay.size) & (step["first"] == 0)
    alive = jnp.cumprod(follows[:, 1:] & (step["discount"][:, :-1] > 0), axis=1, dtype=jnp.int32)
    member = jnp.concatenate([jnp.ones((batch_size, 1), jnp.int32), alive], axis=1)  # [B, n]
    steps = jnp.sum(member, axis=1)  # [B] in 1..n
    weight = member * gamma ** jnp.arange(n_step)[None, :]  # [B, n]
    last = jnp.take_along_axis(position, steps[:, None] - 1, axis=1)[:, 0]
    o, a = replay.observation_size, replay.action_size
    head = decode(replay.rows[position[:, 0], : o + a] if n_step > 1 else replay.rows[position[:, 0]])
    tail = decode(replay.rows[last, o + a : 2 * o + a]) if n_step > 1 else head[:, o + a : 2 * o + a]
    final_discount = jnp.take_along_axis(step["discount"], steps[:, None] - 1, axis=1)[:, 0]
    return Transition(
        observation=head[:, :o],
        action=head[:, o : o + a],
        reward=jnp.sum(weight * (step["reward"] - reward_offset), axis=1),
        discount=final_discount * gamma**steps,
        next_observation=tail,
    )


def encode(rows: Array, dtype: Any) -> Array:
    """Rows as they are stored. XLA's CPU compiler has no bfloat16 and would convert the whole ring to float32 and back
    in every step; 16-bit integers it moves as they are."""
    if dtype == jnp.float16:  # a large number must not become infinite
        largest = float(jnp.finfo(jnp.float16).max)
        rows = jnp.clip(rows, -largest, largest)
    rows = rows.astype(dtype)
    return jax.lax.bitcast_convert_type(rows, jnp.uint16) if dtype == jnp.bfloat16 else rows


def decode(rows: Array) -> Array:
    """Stored rows as float32."""
    if rows.dtype == jnp.uint16:
        rows = jax.lax.bitcast_convert_type(rows, jnp.bfloat16)
    return rows.astype(jnp.float32)


def _flags(replay: ReplayState, position: Array) -> dict[str, Array]:
    columns = decode(replay.rows[position, 2 * replay.observation_size + replay.action_size :])
    return {"reward": columns[..., 0], "discount": columns[..., 1], "first": columns[..., 2]}
