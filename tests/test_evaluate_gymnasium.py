"""Evaluation of a policy file in Gymnasium's own task, beside a loop written out."""

from typing import Any

import gymnasium
import numpy as np

from sacbrax.view.evaluation import evaluate_gymnasium


class Leaning:
    """A policy of two tasks' first observations, which never reaches the limits of an action."""

    def __init__(self, task: str, action_size: int, action_repeat: int = 1, episode_length: int = 1000):
        self.header = {"env": {"name": task, "action_repeat": action_repeat, "episode_length": episode_length}}
        self.action_size = action_size

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return 0.6 * np.sin(observation[..., : self.action_size])


def by_hand(name: str, limit: float, policy: Any, repeat: int, seed: int) -> tuple[float, int]:
    """Return and length of one episode; actions are stretched from [-1, 1] to the task's own limits."""
    env, total, length, over = gymnasium.make(name), 0.0, 0, False
    observation, _ = env.reset(seed=seed)
    while not over:
        action = limit * policy(observation)
        length += 1
        for _ in range(repeat):
            observation, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
            if over:
                break
    env.close()
    return total, length


def check(name: str, limit: float, policy: Any, repeat: int) -> None:
    result = evaluate_gymnasium(policy, episodes=3, seed=11)
    episodes = [by_hand(name, limit, policy, repeat, 11 + i) for i in range(3)]
    np.testing.assert_allclose(result["return"], [total for total, _ in episodes], rtol=1e-9)
    np.testing.assert_array_equal(result["length"], [length for _, length in episodes])


def test_actions_reach_the_tasks_own_limits() -> None:
    check("Pusher-v5", 2.0, Leaning("pusher_v5", 7, episode_length=100), 1)


def test_episodes_end_apart_and_actions_repeat() -> None:
    check("InvertedPendulum-v5", 3.0, Leaning("inverted_pendulum_v5", 1, 2), 2)


def test_the_time_limit_is_that_of_training() -> None:
    """In the policy's steps, each of which may be several of Gymnasium's: Pusher-v5 itself ends after 100."""
    for repeat in (1, 3):
        policy: Any = Leaning("pusher_v5", 7, repeat, episode_length=50 * (3 - repeat) + 7)
        np.testing.assert_array_equal(
            evaluate_gymnasium(policy, episodes=2, seed=0)["length"], 107 if repeat == 1 else 7
        )
