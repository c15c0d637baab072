"""Stable-Baselines3's SAC on Gymnasium's Swimmer-v5. `run` serves SBX as well, which has the same interface."""

from typing import Any

import gymnasium
import numpy as np
from recorder import Recorder
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv

TASK = "Swimmer-v5"


def evaluate(policy: Any, episodes: int, seed: int) -> float:
    """Mean return of whole deterministic episodes side by side; `policy` maps observations [N, O] to actions [N, A]."""
    envs = [gymnasium.make(TASK) for _ in range(episodes)]
    observations = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    total, over = 0.0, False
    while not over:  # every episode ends with the time limit
        for i, action in enumerate(policy(observations)):
            observations[i], reward, terminated, truncated, _ = envs[i].step(action)
            total, over = total + float(reward), terminated or truncated
    return total / episodes


class Chunks(BaseCallback):
    """Marks every chunk of vector steps once updates have begun, evaluates when due, and ends training."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder, self.next = recorder, 0

    def _on_step(self) -> bool:
        recorder, updates = self.recorder, int(self.model._n_updates)
        if updates < self.next + recorder.job["chunk"]:
            return True
        self.next = updates
        recorder.mark(self.num_timesteps, updates)
        if recorder.evaluation_due():
            recorder.evaluate(lambda: evaluate(self._mode, recorder.job["episodes"], len(recorder.marks)))
        return not recorder.done()

    def _mode(self, observations: np.ndarray) -> np.ndarray:
        return self.model.predict(observations, deterministic=True)[0]


def run(algorithm: Any) -> None:
    """Train an algorithm of this interface until the recorder is done."""
    recorder = Recorder()
    job = recorder.job
    model = algorithm(
        "MlpPolicy",
        make_vec_env(TASK, n_envs=job["num_envs"], seed=job["seed"], vec_env_cls=DummyVecEnv),
        learning_rate=job["learning_rate"],
        buffer_size=job["capacity"],
        learning_starts=job["exploration"],
        batch_size=job["batch_size"],
        tau=job["tau"],
        gamma=job["gamma"],
        train_freq=1,
        gradient_steps=job["updates"],
        policy_kwargs={"net_arch": list(job["hidden"])},
        seed=job["seed"],
    )
    model.learn(total_timesteps=10**9, callback=Chunks(recorder))
    recorder.finish()


if __name__ == "__main__":
    from stable_baselines3 import SAC

    run(SAC)
