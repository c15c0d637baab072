"""The first soft actor-critic ([SAC]): critics, a state value and its slow copy; the reward scale weighs entropy."""

import jax
import jax.numpy as jnp

from sacbrax.agents import losses
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.networks import Value
from sacbrax.agents.soft_actor_critic import AgentState, SoftActorCritic
from sacbrax.config import Config
from sacbrax.core.types import Array, Key, Metrics, Params, Transition
from sacbrax.parallel.shards import Shards


class SACv1(SoftActorCritic):
    """Two critics, a state value and its slow copy; the reward scale sets the weight of entropy ([SAC] algorithm 1)."""

    target_group = "value"

    def __init__(self, config: Config, sizes: tuple[int, int], shards: Shards, actor_inputs: int | None):
        super().__init__(config, sizes, shards, actor_inputs)
        self.value = Value(config.network)

    def init(self, key: Key) -> AgentState:
        actor_key, critic_key, value_key = jax.random.split(key, 3)
        return self._create(
            {
                "actor": self.policy.init(actor_key, self._observation),
                "critic": self.critics.init(critic_key, self._observation, self._action),
                "value": self.value.init(value_key, self._observation),
            }
        )

    def update(self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key) -> tuple[AgentState, Metrics]:
        hyper = hyper.at(agent.gradient_steps)
        target = self._td_target(agent, batch, hyper, key)

        def total(params: dict[str, Params]) -> tuple[Array, Metrics]:
            action, log_prob = self._fresh_action(params["actor"], batch.observation, key)
            log_prior = self._log_prior(action)
            q_fresh = self.critics(losses.stop(params["critic"]), batch.observation, action)
            q = self.critics(params["critic"], batch.observation, batch.action)
            value = self.value(params["value"], batch.observation)
            critic = losses.critic_loss(q, target)
            state_value = losses.value_loss(value, jnp.min(q_fresh, axis=0), log_prob, log_prior)
            if self._algorithm.policy_gradient == "reparameterized":
                actor = losses.actor_loss(self._policy_q(q_fresh), log_prob, log_prior, jnp.ones(()))
            else:
                one = jnp.ones(())
                actor = losses.likelihood_ratio_loss(self._policy_q(q_fresh), log_prob, log_prior, one, value)
            actor += self._regularizer(params["actor"], batch.observation, hyper)
            metrics = {
                "critic_loss": critic,
                "value_loss": state_value,
                "actor_loss": actor,
                "entropy": -jnp.mean(log_prob),
                "q_mean": jnp.mean(q),
            }
            return critic + state_value + actor, metrics

        grads, metrics = jax.grad(total, has_aux=True)(agent.params)
        return self._apply(agent, grads, metrics, hyper)

    def _state_value(self, agent: AgentState, params: dict[str, Params], observation: Array, key: Key) -> Array:
        return self.value(params["value"], observation)
