"""Rollout: time limits, terminations, fresh starts, staggered clocks, and the quarantine of faults."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Cue

from sacbrax.envs import vector_env
from sacbrax.envs.vector_env import VectorEnv

NUM_ENVS, LENGTH = 4, 8


def roll(env: Any, steps: int, length: int = LENGTH, num_envs: int = NUM_ENVS) -> Any:
    """`steps` vector steps with action 0: (observations before, Steps, EnvStates after), leading axis [steps]."""
    vector_env = VectorEnv(env, num_envs, length)

    def body(state: Any, key: Any) -> Any:
        after, step = vector_env.step(state, jnp.zeros((num_envs, env.action_size)), key)
        return after, (state.state.obs, step, after)

    @jax.jit
    def run(key: Any) -> Any:
        state = vector_env.reset(key)
        return jax.lax.scan(body, state, jax.random.split(jax.random.fold_in(key, 1), steps))[1]

    return jax.device_get(run(jax.random.key(0)))


def test_clocks_start_staggered_and_count_on() -> None:
    _, step, after = roll(Cue(), 10)
    np.testing.assert_array_equal(after.episode_step[0], [1, 3, 5, 7])
    ends = [int(np.argmax(after.episode_step[:, i] == 0)) for i in range(NUM_ENVS)]
    assert ends == [7, 5, 3, 1], "every environment ends at another step"
    # Only an episode seen from its first step is marked as beginning.
    np.testing.assert_array_equal(step.first[0], [True, False, False, False])


def test_truncation_keeps_discount_one_and_the_true_next_observation() -> None:
    before, step, _ = roll(Cue(), 10)
    assert (step.transition.discount == 1).all()
    np.testing.assert_array_equal(step.transition.observation, before)
    # The observation counts time; at the limit the transition still shows the count, the environment starts anew.
    np.testing.assert_array_equal(step.transition.next_observation[:, :, 1], before[:, :, 1] + 1)
    np.testing.assert_array_equal(step.transition.next_observation[:, :, 0], before[:, :, 0])
    assert before[8, 0, 1] == 0
    assert step.transition.next_observation[7, 0, 1] == 8
    assert step.first[8, 0]


def test_termination_gives_discount_zero_and_a_reset() -> None:
    before, step, after = roll(Cue(terminate_at=3), 9, length=100)
    ended = step.transition.next_observation[:, :, 1] == 3
    assert ended.sum() == 3 * NUM_ENVS
    np.testing.assert_array_equal(step.transition.discount, np.where(ended, 0.0, 1.0))
    np.testing.assert_array_equal(after.episode_step[2], 0)
    np.testing.assert_array_equal(before[3, :, 1], 0)


def test_staggered_clocks_do_not_overflow() -> None:
    """4,096 environments times a million steps exceed 32 bits."""
    clock = np.asarray(VectorEnv(Cue(), 4096, 1_000_000).reset(jax.random.key(0)).episode_step)
    np.testing.assert_array_equal(clock, np.arange(4096, dtype=np.int64) * 1_000_000 // 4096)


def test_a_termination_at_the_time_limit_is_a_termination() -> None:
    _, step, _ = roll(Cue(terminate_at=LENGTH), LENGTH)
    assert step.transition.discount[LENGTH - 1, 0] == 0


def test_every_start_is_fresh() -> None:
    before, _, _ = roll(Cue(terminate_at=2), 40)
    starts = before[before[:, :, 1] == 0][:, 0]
    assert len(starts) == 20 * NUM_ENVS
    assert len(set(starts)) == len(starts)


def test_episode_returns_count_whole_episodes_only() -> None:
    _, step, after = roll(Cue(), 16)
    # The reward is the time, an episode from its first step pays 0 + 1 + ... + 7.
    assert step.metrics["episodes"].sum() == 1 + 4, "one whole first episode, then one of each environment"
    np.testing.assert_allclose(step.metrics["episode_return_sum"].sum(), 5 * 28)
    assert after.episode_return[7, 0] == 0


@pytest.mark.parametrize("fault", ["obs", "reward", "physics", "done"])
def test_a_fault_is_quarantined(fault: str) -> None:
    env = Cue(nan_at=3, nan_below=0.0, fault=fault)
    before, step, after = roll(env, 6, length=100)
    faulty = (step.transition.next_observation[:, :, 1] == 3) | np.isnan(step.transition.next_observation[:, :, 1])
    faulty &= before[:, :, 0] < 0
    assert 0 < faulty.sum() < 2 * NUM_ENVS, "the case needs faulty and sound environments"
    np.testing.assert_array_equal(step.valid, ~faulty)
    np.testing.assert_array_equal(step.metrics["faults"], faulty.sum(axis=1))
    np.testing.assert_array_equal(step.metrics["steps"], (~faulty).sum(axis=1))
    for leaf in jax.tree.leaves((after, step.metrics, before)):
        assert np.isfinite(leaf).all()
    # A faulty environment starts afresh; its broken episode is not counted.
    at = int(np.argmax(faulty.any(axis=1)))
    np.testing.assert_array_equal(after.episode_step[at], np.where(faulty[at], 0, after.episode_step[at]))
    np.testing.assert_array_equal(step.first[at + 1], faulty[at])
    assert step.metrics["episodes"].sum() == 0


def test_faulty_starts_are_quarantined() -> None:
    """What is seen of a start may be NaN where all that follows is sound."""

    class Blind(Cue):
        def reset(self, rng: Any) -> Any:
            state = super().reset(rng)
            return state.replace(obs=jnp.where(state.obs[0] < 0.0, jnp.nan, state.obs))

    before, step, _ = roll(Blind(terminate_at=3), 12)
    blind = np.isnan(before).any(axis=2)
    assert 0 < blind.sum() < blind.size / 2
    np.testing.assert_array_equal(step.valid, ~blind)
    np.testing.assert_array_equal(step.metrics["faults"], blind.sum(axis=1))
    assert np.isfinite(step.transition.next_observation).all()


def test_faults_do_not_poison_the_sums() -> None:
    _, step, _ = roll(Cue(nan_at=1, fault="reward"), 2)
    assert step.metrics["reward_sum"].tolist() == [0, 0]


def evaluate(env: Any, length: int) -> dict[str, np.ndarray]:
    def policy(observation: Any, key: Any) -> Any:
        return jnp.zeros((observation.shape[0], env.action_size))

    return jax.device_get(jax.jit(lambda key: vector_env.evaluate(env, policy, key, 3, length))(jax.random.key(0)))


def test_evaluation_counts_until_the_time_limit() -> None:
    result = evaluate(Cue(), 6)
    np.testing.assert_array_equal(result["return"], 15)
    np.testing.assert_array_equal(result["length"], 6)


def test_evaluation_stops_counting_at_a_termination() -> None:
    result = evaluate(Cue(terminate_at=4, nan_at=5), 6)  # what follows the end is not looked at, be it NaN
    np.testing.assert_array_equal(result["return"], 6)
    np.testing.assert_array_equal(result["length"], 4)


@pytest.mark.parametrize("fault", ["obs", "reward", "physics", "done"])
def test_an_evaluation_tells_the_episodes_that_left_the_finite_numbers(fault: str) -> None:
    result = evaluate(Cue(nan_at=3, nan_below=-0.5, fault=fault), 6)
    assert result["length"].tolist() == [6, 3, 3], "the case needs both"
    np.testing.assert_array_equal(result["return"], [15, np.nan, np.nan])


class Unborn(Cue):
    """Not a number from the start, unless its draw is above -0.5; sound in every step."""

    def reset(self, rng: Any) -> Any:
        state = super().reset(rng)
        return state.replace(obs=jnp.where(state.obs[0] > -0.5, state.obs, jnp.nan))


def test_a_start_that_is_not_finite_is_a_fault() -> None:
    before, step, _ = roll(Unborn(), 4, length=100)
    unseen = np.isnan(before).any(axis=2)
    assert 0 < unseen.sum() < unseen.size
    np.testing.assert_array_equal(step.valid, ~unseen)
    np.testing.assert_array_equal(evaluate(Unborn(), 2)["return"], [1, np.nan, np.nan])


def test_brax_environments_are_accepted() -> None:
    from brax.envs.fast import Fast

    _, step, _ = roll(Fast(), 10)
    assert step.valid.all()
    assert step.transition.next_observation.shape == (10, NUM_ENVS, 2)
