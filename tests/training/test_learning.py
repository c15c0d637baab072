"""Learning: environments of one or two steps whose best actions and values are known, for both algorithms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import SCALE, Tiny, learn, mode, q_values


@pytest.mark.parametrize("algorithm", list(SCALE))
def test_bandit_finds_the_best_action(tiny: Tiny, algorithm: str) -> None:
    trainer, state = learn(tiny, algorithm, "Bandit")
    seen = np.stack([np.linspace(-1, 1, 9), np.zeros(9)], axis=1)
    np.testing.assert_allclose(mode(trainer, state, seen), 0.5, atol=0.12)


@pytest.mark.parametrize("algorithm", list(SCALE))
def test_mirror_acts_on_what_it_sees(tiny: Tiny, algorithm: str) -> None:
    trainer, state = learn(tiny, algorithm, "Mirror")
    draws = np.array([-0.9, -0.5, 0.5, 0.9])
    action = mode(trainer, state, np.stack([draws, np.zeros(4)], axis=1))
    assert (action[:, 0] * np.sign(draws) > 0.7).all(), action
    episodes = jax.jit(trainer.evaluate)(state, jax.random.key(1))
    np.testing.assert_array_equal(episodes["length"], 1)
    assert float(episodes["return"].mean()) > 0.7


@pytest.mark.parametrize(("algorithm", "n_step"), [("sac_v1", 1), ("sac_v2", 3)])
def test_a_constant_reward_is_worth_its_geometric_sum(tiny: Tiny, algorithm: str, n_step: int) -> None:
    """Episodes are cut every 4 steps: were a time limit an end, the value would stay below 1 + .75 + ... < 2.8."""
    trainer, state = learn(tiny, algorithm, "Constant", "algorithm.gamma=0.75", f"algorithm.n_step={n_step}")
    seen = np.stack([np.linspace(-0.9, 0.9, 8), np.zeros(8)], axis=1)
    q = q_values(trainer, state, seen, np.linspace(-0.9, 0.9, 8)[::-1, None])
    np.testing.assert_allclose(q, 1 / (1 - 0.75), rtol=0.06)


@pytest.mark.parametrize(("algorithm", "n_step"), [("sac_v1", 3), ("sac_v2", 1)])
def test_a_later_reward_is_discounted_and_the_end_is_worth_nothing(tiny: Tiny, algorithm: str, n_step: int) -> None:
    trainer, state = learn(tiny, algorithm, "TwoStep", "algorithm.gamma=0.5", f"algorithm.n_step={n_step}")
    draws, actions = np.linspace(-0.9, 0.9, 8), np.linspace(-0.9, 0.9, 8)[::-1, None]
    for time, value in [(0.0, 0.5), (1.0, 1.0)]:
        q = q_values(trainer, state, np.stack([draws, np.full(8, time)], axis=1), actions)
        np.testing.assert_allclose(q, value, atol=0.08)


def test_centred_rewards_are_worth_their_difference_from_the_mean(tiny: Tiny) -> None:
    trainer, state = learn(tiny, "sac_v2", "Constant", "algorithm.gamma=0.75", "algorithm.reward_centering=0.01")
    assert float(state.normalizer.reward_mean) == pytest.approx(1.0, abs=1e-4)
    q = q_values(trainer, state, np.zeros((8, 2)), np.linspace(-0.9, 0.9, 8)[:, None])
    np.testing.assert_allclose(q, 0, atol=0.15)


def test_the_temperature_brings_entropy_to_its_target(tiny: Tiny) -> None:
    rate = ("algorithm.temperature_learning_rate=1e-2", "algorithm.target_entropy=-0.5")
    trainer, state = learn(tiny, "sac_v2", "Bandit", *rate)
    observation = state.normalizer(jnp.stack([jnp.linspace(-1, 1, 2000), jnp.zeros(2000)], axis=1))
    _, log_prob, _ = trainer.agent.policy.sample(state.agent.params["actor"], observation, jax.random.key(0))
    assert -float(log_prob.mean()) == pytest.approx(-0.5, abs=0.3)
