"""Training on the probe environments: settings with which both algorithms solve them in seconds."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from epochs import epoch

from sacbrax.config import Config
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]
# Entropy counts little beside the reward: it weighs 0.01 in v2, and 1 beside rewards times 20 in v1.
SCALE = {"sac_v1": 20.0, "sac_v2": 1.0}
SETTINGS = (
    "env.num_envs=16",
    "env.episode_length=4",
    "network.hidden_sizes=[32]",
    "replay.capacity=4096",
    "train.batch_size=64",
    "train.updates_per_step=8",
    "train.exploration_env_steps=256",
    "train.total_env_steps=6400",
    "eval.every_env_steps=6400",
    "eval.episodes=16",
    "algorithm.tau=0.05",
    "algorithm.learning_rate=5e-3",
    "algorithm.initial_temperature=0.01",
    "algorithm.temperature_learning_rate=0",
)


def learn(tiny: Tiny, algorithm: str, env: str, *overrides: str) -> tuple[Trainer, Any]:
    """Some 3,000 updates on a probe environment."""
    scale = f"algorithm.reward_scale={SCALE.get(algorithm, 1.0)}"
    trainer = Trainer(tiny(*SETTINGS, f"algorithm.name={algorithm}", scale, f"env.name=probes:{env}", *overrides))
    programs = Programs(trainer)
    state = programs.prefill(programs.init(programs.keys(0)[0], trainer.hyper()), trainer.hyper())
    return trainer, epoch(trainer.config, programs, state, trainer.hyper())[0]


def mode(trainer: Trainer, state: Any, observation: Any) -> np.ndarray:
    """The deterministic actions there."""
    return np.asarray(trainer.agent.act_deterministic(state.agent, state.normalizer(jnp.asarray(observation))))


def q_values(trainer: Trainer, state: Any, observation: Any, action: Any) -> np.ndarray:
    """The critics' values in units of reward, [E, B]."""
    observation = state.normalizer(jnp.asarray(observation))
    q = trainer.agent.critics(state.agent.params["critic"], observation, jnp.asarray(action))
    return np.asarray(q) / SCALE.get(trainer.config.algorithm.name, 1.0)
