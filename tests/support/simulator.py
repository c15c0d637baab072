"""Training's side of the environments once more in NumPy, step by step: what `probes:Various` does, time limits,
terminations, faults, the ring, running statistics, and the n-step window from any stored row.

Knows neither JAX nor the package. What a reset draws is given to it.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np


@dataclasses.dataclass
class Row:
    """A stored transition and whether it begins an episode or follows a fault."""

    observation: np.ndarray
    action: np.ndarray
    reward: float
    discount: float
    next_observation: np.ndarray
    first: bool


@dataclasses.dataclass
class Window:
    """An n-step transition, why it ends, and after how many steps."""

    TRANSITION: ClassVar = ("observation", "action", "reward", "discount", "next_observation")
    observation: np.ndarray
    action: np.ndarray
    reward: float
    discount: float
    next_observation: np.ndarray
    end: str
    steps: int


class Statistics:
    """Mean and variance over all vector steps with equal weight, from sums."""

    def __init__(self, size: int):
        self.steps, self.sum, self.squares = 0, np.zeros(size), np.zeros(size)

    def add(self, observations: np.ndarray) -> None:
        self.steps += 1
        self.sum += observations.mean(axis=0)
        self.squares += (observations**2).mean(axis=0)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        if not self.steps:
            return np.clip(observation / np.sqrt(1 + 1e-6), -10, 10)
        mean = self.sum / self.steps
        variance = self.squares / self.steps - mean**2
        return np.clip((observation - mean) / np.sqrt(variance + 1e-6), -10, 10)


class Simulator:
    """N environments with staggered clocks, as in docs/design.md; `policy` sees normalized observations [N, 2]."""

    def __init__(
        self,
        policy: Callable[[np.ndarray], np.ndarray],
        starts: np.ndarray,
        episode_length: int,
        capacity: int,
        action_gain: float,
        reward_clip: float,
    ):
        self.policy, self.length, self.capacity = policy, episode_length, capacity
        self.gain, self.clip = action_gain, reward_clip
        self.observation = starts.astype(float)
        self.clock = np.arange(len(starts)) * episode_length // len(starts)
        self.statistics = Statistics(starts.shape[1])
        self.rows: list[Row] = []
        self.terminated = self.faults = 0

    def step(self, starts: np.ndarray) -> None:
        """One step of every environment; an environment that ends or breaks goes on from its row of `starts`."""
        before, first = self.observation.copy(), self.clock == 0
        actions = self.policy(self.statistics(before))
        rows: list[Row | None] = []
        for i, ((draw, time), action) in enumerate(zip(before, actions, strict=True)):
            reward = draw + 0.5 * time + np.clip(self.gain * np.clip(action[0], -1, 1), -1, 1)
            over = time + 1 == 1 + np.floor(np.float32(abs(draw)) * np.float32(100)) % 5
            self.clock[i] += 1
            faulty, terminated = over and abs(draw) <= 0.2, over and draw < -0.2
            after = np.array([draw, time + 1])
            row = Row(before[i], action, np.clip(reward, -self.clip, self.clip), 1.0 - terminated, after, first[i])
            rows.append(None if faulty else row)
            self.faults += faulty
            self.terminated += terminated
            self.observation[i] = after
            if faulty or terminated or self.clock[i] == self.length:
                self.observation[i], self.clock[i] = starts[i], 0
        sound = [row for row in rows if row is not None]
        if sound:
            self.statistics.add(np.stack([row.observation for row in sound]))
            self.rows += [dataclasses.replace(sound[0], first=True) if row is None else row for row in rows]
        self.rows = self.rows[-self.capacity :]

    def window(self, start: int, n_step: int, gamma: float) -> Window:
        """From stored row `start`, 0 being the oldest."""
        stride, total, steps, end = len(self.observation), 0.0, 0, ""
        while not end:
            row = self.rows[start + steps * stride]
            total += gamma**steps * row.reward
            steps += 1
            follower = start + steps * stride
            if row.discount == 0:
                end = "terminated"
            elif steps == n_step:
                end = "full"
            elif follower >= len(self.rows):
                end = "newest"
            elif self.rows[follower].first:
                end = "cut"
        head = self.rows[start]
        discount = gamma**steps * row.discount
        return Window(head.observation, head.action, total, discount, row.next_observation, end, steps)
