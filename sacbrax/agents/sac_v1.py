"""The first soft actor-critic ([SAC]): critics, a state value and its slow copy; the reward scale weighs entropy."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from sacbrax.agents import hyperparameters, losses
from sacbrax.agents.actor_critic import ActorCritic
from sacbrax.agents.agent import AgentState, Pass
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.networks import Value
from sacbrax.agents.soft_actor_critic import PASSES, SoftActorCritic
from sacbrax.config import Config
from sacbrax.core.metrics import Sums
from sacbrax.core.types import Array, Key, Metrics, Params, Transition
from sacbrax.parallel.shards import Shards


class SACv1(SoftActorCritic):
    """Critics, a state value and its slow copy; the reward scale sets the weight of entropy ([SAC] algorithm 1)."""

    targets: ClassVar = ("value",)
    rates: ClassVar = {**ActorCritic.rates, "value": "value_learning_rate"}
    passes: ClassVar = (*PASSES, Pass("value"), Pass("value", weights=True))  # the target's at s', the value's at s

    def __init__(self, config: Config, sizes: tuple[int, int], shards: Shards, actor_inputs: int | None):
        super().__init__(config, sizes, shards, actor_inputs)
        self.value = Value(config.network)

    def init(self, key: Key, hyper: Hyper) -> AgentState:
        """Fresh parameters; the target is a copy of the value."""
        actor_key, critic_key, value_key = jax.random.split(key, 3)
        return self._create(
            {
                "actor": self.policy.init(actor_key, self._observation),
                "critic": self.critics.init(critic_key, self._observation, self._action),
                "value": self.value.init(value_key, self._observation),
            }
        )

    def update(self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key) -> tuple[AgentState, Sums]:
        """One gradient step of all three losses from the same parameters and minibatch, then the target's."""
        hyper = hyperparameters.at(hyper, agent.gradient_steps)
        target = self._td_target(agent, batch, hyper, key)

        def total(params: dict[str, Params]) -> tuple[Array, Metrics]:
            fresh = self._fresh(params, batch.observation, key)
            q = self.critics(params["critic"], batch.observation, batch.action)
            value = self.value(params["value"], batch.observation)
            critic = losses.critic_loss(q, target)
            state_value = losses.value_loss(value, jnp.min(fresh.q, axis=0), fresh.log_prob, fresh.log_prior)
            actor = self._actor_loss(
                params["actor"], batch.observation, fresh, jnp.ones(()), hyper, baseline=lambda: value
            )
            metrics = {
                "critic_loss": critic,
                "value_loss": state_value,
                "actor_loss": actor,
                "entropy": -jnp.mean(fresh.log_prob),
                "q_mean": jnp.mean(q),
            }
            return critic + state_value + actor, metrics

        grads, metrics = jax.grad(total, has_aux=True)(agent.params)
        return self._apply(agent, grads, metrics, hyper)

    def _state_value(self, agent: AgentState, params: dict[str, Params], observation: Array, key: Key) -> Array:
        return self.value(params["value"], observation)
