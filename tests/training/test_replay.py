"""Replay: every stored row carries an id, and every sample is compared with a plain NumPy account of the ring."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sacbrax.core.types import Transition
from sacbrax.training import replay as replay_lib

GAMMA, OFFSET, BATCH = 0.9, 0.25, 256
# (environments, capacity): a multiple, no multiple, equal, one environment, and one row to spare
SHAPES = [(2, 8), (3, 10), (4, 4), (1, 5), (3, 4)]


class Ring:
    """The NumPy account: the flat stream of rows as written, cut to the newest `capacity`."""

    def __init__(self, num_envs: int, capacity: int):
        self.num_envs, self.capacity = num_envs, capacity
        self.rows: list[dict[str, Any]] = []
        self.written = 0
        self.next_id = 1

    def block(self, discount: Any, first: Any, valid: Any) -> tuple[Transition, np.ndarray, np.ndarray]:
        """A vector step of rows with fresh ids; what an invalid environment emits is NaN."""
        ids = np.arange(self.next_id, self.next_id + self.num_envs, dtype=np.float32)
        self.next_id += self.num_envs
        valid = np.asarray(valid, bool)
        shown = np.where(valid, ids, np.nan).astype(np.float32)
        transition = Transition(
            observation=np.stack([ids, -ids], axis=1),
            action=ids[:, None] / 1000,
            reward=shown / 10,
            discount=np.asarray(discount, np.float32),
            next_observation=np.stack([shown + 0.5, shown - 0.5], axis=1),
        )
        return transition, np.asarray(first, bool), valid

    def insert(self, transition: Transition, first: np.ndarray, valid: np.ndarray) -> None:
        if not valid.any():
            return
        donor = int(np.argmax(valid))
        for i in range(self.num_envs):
            source = i if valid[i] else donor
            row = {name: getattr(transition, name)[source] for name in vars(transition)}
            self.rows.append(row | {"first": bool(first[i]) or not valid[i]})
        self.rows = self.rows[-self.capacity :]

    def window(self, start: int, n_step: int) -> dict[str, Any]:
        """The n-step transition that begins at stored row `start`, 0 being the oldest."""
        row, total, steps = self.rows[start], 0.0, 0
        last, position = row, start
        while True:
            last = self.rows[position]
            total += GAMMA**steps * (float(last["reward"]) - OFFSET)
            steps += 1
            position += self.num_envs
            over = steps == n_step or last["discount"] == 0 or position >= len(self.rows)
            if over or self.rows[position]["first"]:
                break
        return {
            "observation": row["observation"],
            "action": row["action"],
            "reward": total,
            "discount": GAMMA**steps * float(last["discount"]),
            "next_observation": last["next_observation"],
        }


_insert = jax.jit(replay_lib.insert)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _sample(replay: replay_lib.ReplayState, key: Any, batch_size: int, n_step: int) -> Transition:
    return replay_lib.sample(replay, key, batch_size, n_step, jnp.float32(GAMMA), jnp.float32(OFFSET))


def fill(num_envs: int, capacity: int, steps: list[tuple[Any, Any, Any]]) -> tuple[replay_lib.ReplayState, Ring]:
    """The same vector steps (discount, first, valid) written to both."""
    replay, ring = replay_lib.init(capacity, num_envs, 2, 1), Ring(num_envs, capacity)
    for step in steps:
        block = ring.block(*step)
        replay = _insert(replay, *block)
        ring.insert(*block)
    return replay, ring


def steps_without_ends(num_envs: int, count: int) -> list[tuple[Any, Any, Any]]:
    return [(np.ones(num_envs), np.zeros(num_envs), np.ones(num_envs))] * count


def assert_samples_match(replay: replay_lib.ReplayState, ring: Ring, n_step: int, seed: int = 0) -> None:
    """Every sampled transition is one of the account's windows from a row with the same id, in every field."""
    batch = jax.device_get(_sample(replay, jax.random.key(seed), BATCH, n_step))
    expected: dict[float, list[dict[str, Any]]] = {}
    for start, row in enumerate(ring.rows):
        expected.setdefault(float(row["observation"][0]), []).append(ring.window(start, n_step))
    seen = set()
    for i in range(BATCH):
        row = {name: getattr(batch, name)[i] for name in vars(batch)}
        identity = float(row["observation"][0])
        assert identity in expected, f"row {identity} is not stored"
        seen.add(identity)
        # A donated row is stored twice, with windows of its own at both places.
        assert any(
            all(np.allclose(row[name], window[name], rtol=1e-5, atol=1e-6) for name in row)
            for window in expected[identity]
        ), f"{row} is none of {expected[identity]}"
    assert seen == set(expected), "256 draws from at most 10 rows reach every one"


@st.composite
def histories(draw: Any) -> tuple[int, int, list[tuple[Any, Any, Any]]]:
    num_envs, capacity = draw(st.sampled_from(SHAPES))
    flags = st.lists(st.sampled_from([True, True, True, False]), min_size=num_envs, max_size=num_envs)
    steps = draw(st.lists(st.tuples(flags, flags, flags), min_size=1, max_size=12))
    if not any(any(valid) for _, _, valid in steps):
        steps.append(([True] * num_envs, [True] * num_envs, [True] * num_envs))
    return num_envs, capacity, [(np.float32(alive), ~np.array(same), valid) for alive, same, valid in steps]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(histories(), st.sampled_from([1, 2, 3]))
@example((3, 10, steps_without_ends(3, 9)), 3)  # wraps three times, no multiple
def test_samples_equal_the_numpy_account(history: tuple[int, int, Any], n_step: int) -> None:
    replay, ring = fill(*history)
    assert int(replay.size) == len(ring.rows)
    assert_samples_match(replay, ring, n_step)


@pytest.mark.parametrize(("num_envs", "capacity"), SHAPES)
def test_wrap_keeps_the_newest_rows(num_envs: int, capacity: int) -> None:
    replay, ring = fill(num_envs, capacity, steps_without_ends(num_envs, 7))
    kept = {float(row["observation"][0]) for row in ring.rows}
    assert len(kept) == capacity if 7 * num_envs >= capacity else 7 * num_envs
    assert set(np.asarray(replay.rows[:, 0])) == kept
    assert int(replay.insert_index) == 7 * num_envs % capacity


@pytest.mark.parametrize(("num_envs", "capacity"), [(3, 10), (2, 8)])
def test_unwritten_rows_are_never_sampled(num_envs: int, capacity: int) -> None:
    replay, ring = fill(num_envs, capacity, steps_without_ends(num_envs, 1))
    marked = replay.replace(rows=replay.rows.at[num_envs:].set(1e6))
    assert_samples_match(marked, ring, n_step=3)


def one_env(flags: list[tuple[float, bool]], capacity: int = 20) -> tuple[replay_lib.ReplayState, Ring]:
    """Rows 1, 2, ... of one environment with (discount, first)."""
    return fill(1, capacity, [([discount], [first], [True]) for discount, first in flags])


def windows(replay: replay_lib.ReplayState, n_step: int) -> dict[int, tuple[float, float]]:
    """id -> (id of the row the window ends with, discount)."""
    batch = jax.device_get(_sample(replay, jax.random.key(2), BATCH, n_step))
    ids, last = batch.observation[:, 0], batch.next_observation[:, 0] - 0.5
    return {int(i): (float(j), round(float(d), 4)) for i, j, d in zip(ids, last, batch.discount, strict=True)}


def test_window_runs_over_n_steps_and_stops_at_the_newest_row() -> None:
    replay, _ = one_env([(1, False)] * 4)
    assert windows(replay, 3) == {1: (3, 0.729), 2: (4, 0.729), 3: (4, 0.81), 4: (4, 0.9)}


def test_window_stops_at_a_truncation_and_bootstraps() -> None:
    replay, _ = one_env([(1, True), (1, False), (1, True), (1, False)])
    assert windows(replay, 3) == {1: (2, 0.81), 2: (2, 0.9), 3: (4, 0.81), 4: (4, 0.9)}


def test_window_stops_at_a_termination_without_bootstrap() -> None:
    # The row behind it is not marked as a beginning here: the discount alone must stop the window.
    replay, _ = one_env([(1, True), (0, False), (1, False), (1, False)])
    assert windows(replay, 3) == {1: (2, 0.0), 2: (2, 0.0), 3: (4, 0.81), 4: (4, 0.9)}


def test_window_does_not_cross_the_seam() -> None:
    replay, _ = one_env([(1, False)] * 7, capacity=5)  # places hold 6 7 3 4 5
    assert windows(replay, 3) == {3: (5, 0.729), 4: (6, 0.729), 5: (7, 0.729), 6: (7, 0.81), 7: (7, 0.9)}


def test_environments_stay_apart() -> None:
    replay, _ = fill(2, 8, steps_without_ends(2, 3))
    assert windows(replay, 2) == {1: (3, 0.81), 2: (4, 0.81), 3: (5, 0.81), 4: (6, 0.81), 5: (5, 0.9), 6: (6, 0.9)}


def test_reward_is_the_discounted_sum_less_the_offset() -> None:
    replay, _ = one_env([(1, False)] * 3)
    batch = jax.device_get(_sample(replay, jax.random.key(3), BATCH, 3))
    total = (0.1 - OFFSET) + GAMMA * (0.2 - OFFSET) + GAMMA**2 * (0.3 - OFFSET)
    np.testing.assert_allclose(batch.reward[batch.observation[:, 0] == 1], total, rtol=1e-5)


def test_an_invalid_row_is_not_stored_and_cuts_the_window() -> None:
    fine, broken = ([1, 1], [False, False], [True, True]), ([1, 1], [False, False], [True, False])
    replay, _ = fill(2, 8, [fine, broken, ([1, 1], [False, True], [True, True])])
    stored = np.asarray(replay.rows)
    assert np.isfinite(stored).all()
    assert 4.0 not in stored[:, 0]  # the faulty row of environment 2
    ends = windows(replay, 3)
    assert ends[2] == (2, 0.9)
    assert ends[1] == (5, 0.729)
    assert ends[6] == (6, 0.9)


@pytest.mark.parametrize(("num_envs", "capacity"), [(2, 8), (3, 10)])
def test_a_block_without_valid_rows_writes_nothing(num_envs: int, capacity: int) -> None:
    replay, ring = fill(num_envs, capacity, steps_without_ends(num_envs, 2))
    block = ring.block(np.ones(num_envs), np.zeros(num_envs), np.zeros(num_envs))
    after = _insert(replay, *block)
    for old, new in zip(jax.tree.leaves(replay), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(old, new)


def test_rows_are_drawn_uniformly() -> None:
    replay, _ = fill(3, 10, steps_without_ends(3, 5))
    draws = 20_000
    batch = jax.device_get(_sample(replay, jax.random.key(4), draws, 2))
    _, counts = np.unique(batch.observation[:, 0], return_counts=True)
    assert counts.shape == (10,)
    assert np.abs(counts - draws / 10).max() < 5 * np.sqrt(draws * 0.1 * 0.9)


def test_insert_and_sample_touch_only_their_rows() -> None:
    """No intermediate of the compiled programs has the size of the ring, beyond the ring itself updated in place."""
    for capacity in (1000, 1001):
        replay = replay_lib.init(capacity, 2, 2, 1)
        block = Ring(2, capacity).block([1, 1], [0, 0], [1, 1])
        jaxpr = jax.make_jaxpr(replay_lib.insert)(replay, *block)
        big = [str(e.primitive) for e in jaxpr.jaxpr.eqns if any(_rows(v) >= capacity for v in e.outvars)]
        assert big in (["dynamic_update_slice"], ["scatter"]), big
        jaxpr = jax.make_jaxpr(lambda r, k: _sample.__wrapped__(r, k, 4, 3))(replay, jax.random.key(0))
        assert not [e for e in jaxpr.jaxpr.eqns if any(_rows(v) >= capacity for v in e.outvars)]


def _rows(variable: Any) -> int:
    return max(variable.aval.shape, default=0)


def test_capacity_below_the_environments_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller than num_envs"):
        replay_lib.init(3, 4, 2, 1)
