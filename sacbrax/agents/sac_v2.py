"""The second soft actor-critic ([SAC2]): critics, their slow copies and a learned temperature."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from sacbrax.agents import hyperparameters, losses
from sacbrax.agents.actor_critic import ActorCritic
from sacbrax.agents.agent import AgentState, Pass
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.soft_actor_critic import PASSES, SoftActorCritic
from sacbrax.config import Config, ConfigError, ScheduleConfig
from sacbrax.core.metrics import Sums
from sacbrax.core.types import Array, Key, Metrics, Params, Transition
from sacbrax.xla import random

# Of one squashed action relative to a prior [nats]: the logarithm of the prior's measure of [-1, 1].
HIGHEST_ENTROPY = {"uniform": math.log(2.0), "normal": math.log(math.erf(math.sqrt(0.5)))}


class SACv2(SoftActorCritic):
    """Critics, their slow copies and a learned temperature ([SAC2])."""

    targets: ClassVar = ("critic",)
    rates: ClassVar = {**ActorCritic.rates, "log_temperature": "temperature_learning_rate"}
    passes: ClassVar = (*PASSES, Pass("actor"), Pass("critic"))  # the target's, at s'

    @staticmethod
    def check(config: Config, action_size: int) -> None:
        """Raise `ConfigError` for an entropy that no policy can have.

        Squashed actions cannot come nearer to their prior than the prior cut to [-1, 1]^A. Where more entropy is wanted
        the temperature grows until numbers end.
        """
        algorithm = config.algorithm
        wanted = algorithm.target_entropy
        if wanted is None or not config.policy.squash:
            return
        highest = max(wanted.values) if isinstance(wanted, ScheduleConfig) else wanted
        limit = action_size * HIGHEST_ENTROPY[algorithm.action_prior]
        if highest >= limit:
            raise ConfigError(
                f"algorithm.target_entropy: must be below {limit:.3f}, the most that {action_size} actions in [-1, 1] "
                f"can have relative to a {algorithm.action_prior} prior, got {highest:g}; usual is {-action_size}"
            )

    @staticmethod
    def hyper(config: Config, action_size: int) -> Hyper:
        """The traced numbers; the wanted entropy is minus the number of actions where it is null."""
        hyper = hyperparameters.of(config)
        if hyper["target_entropy"] is None:
            hyper["target_entropy"] = hyperparameters.create(-float(action_size))
        return hyper

    def init(self, key: Key, hyper: Hyper) -> AgentState:
        """Fresh parameters; the targets are copies of the critics."""
        actor_key, critic_key = jax.random.split(key)
        return self._create(
            {
                "actor": self.policy.init(actor_key, self._observation),
                "critic": self.critics.init(critic_key, self._observation, self._action),
                "log_temperature": jnp.log(hyper["initial_temperature"]),
            }
        )

    def update(self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key) -> tuple[AgentState, Sums]:
        """One gradient step of all three losses from the same parameters and minibatch, then the targets'."""
        hyper = hyperparameters.at(hyper, agent.gradient_steps)
        next_key, key = random.split(key)
        if self._algorithm.policy_gradient == "likelihood_ratio":
            key, second_key = random.split(key)
        temperature = jnp.exp(agent.params["log_temperature"])
        target = self._td_target(agent, batch, hyper, next_key)

        def baseline() -> Array:
            # There is no V(s): an independent second action estimates it.
            return self._state_value(agent, agent.params, batch.observation, second_key)

        def total(params: dict[str, Params]) -> tuple[Array, Metrics]:
            fresh = self._fresh(params, batch.observation, key)
            q = self.critics(params["critic"], batch.observation, batch.action)
            critic = losses.critic_loss(q, target)
            actor = self._actor_loss(params["actor"], batch.observation, fresh, temperature, hyper, baseline)
            relative = fresh.log_prob - fresh.log_prior
            dual = losses.temperature_loss(params["log_temperature"], relative, hyper["target_entropy"])
            metrics = {
                "critic_loss": critic,
                "actor_loss": actor,
                "temperature": temperature,
                "entropy": -jnp.mean(fresh.log_prob),
                "q_mean": jnp.mean(q),
            }
            return critic + actor + dual, metrics

        grads, metrics = jax.grad(total, has_aux=True)(agent.params)
        return self._apply(agent, grads, metrics, hyper)

    def _state_value(self, agent: AgentState, params: dict[str, Params], observation: Array, key: Key) -> Array:
        """One-sample estimate of E[min Q - alpha (log pi - log prior)]."""
        action, log_prob, _ = self.policy.sample(agent.params["actor"], observation, key)
        q = jnp.min(self.critics(params["critic"], observation, action), axis=0)
        return q - jnp.exp(agent.params["log_temperature"]) * (log_prob - self._log_prior(action))
