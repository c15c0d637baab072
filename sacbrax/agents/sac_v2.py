"""The second soft actor-critic ([SAC2]): two critics, their slow copies and a learned temperature."""

import jax
import jax.numpy as jnp

from sacbrax.agents import losses
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.soft_actor_critic import AgentState, SoftActorCritic
from sacbrax.core.types import Array, Key, Metrics, Params, Transition
from sacbrax.xla import random


class SACv2(SoftActorCritic):
    """Two critics, their slow copies and a learned temperature ([SAC2])."""

    target_group = "critic"

    def init(self, key: Key) -> AgentState:
        actor_key, critic_key = jax.random.split(key)
        return self._create(
            {
                "actor": self.policy.init(actor_key, self._observation),
                "critic": self.critics.init(critic_key, self._observation, self._action),
                "log_temperature": jnp.log(jnp.asarray(self._algorithm.initial_temperature, jnp.float32)),
            }
        )

    def update(self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key) -> tuple[AgentState, Metrics]:
        hyper = hyper.at(agent.gradient_steps)
        next_key, key = random.split(key)
        if self._algorithm.policy_gradient == "likelihood_ratio":
            key, second_key = random.split(key)
        temperature = jnp.exp(agent.params["log_temperature"])
        target = self._td_target(agent, batch, hyper, next_key)

        def total(params: dict[str, Params]) -> tuple[Array, Metrics]:
            action, log_prob = self._fresh_action(params["actor"], batch.observation, key)
            log_prior = self._log_prior(action)
            q_fresh = self.critics(losses.stop(params["critic"]), batch.observation, action)
            q = self.critics(params["critic"], batch.observation, batch.action)
            critic = losses.critic_loss(q, target)
            if self._algorithm.policy_gradient == "reparameterized":
                actor = losses.actor_loss(self._policy_q(q_fresh), log_prob, log_prior, temperature)
            else:
                # There is no V(s): an independent second action estimates it.
                baseline = self._state_value(agent, agent.params, batch.observation, second_key)
                actor = losses.likelihood_ratio_loss(
                    self._policy_q(q_fresh), log_prob, log_prior, temperature, baseline
                )
            actor += self._regularizer(params["actor"], batch.observation, hyper)
            dual = losses.temperature_loss(params["log_temperature"], log_prob - log_prior, hyper.target_entropy)
            metrics = {
                "critic_loss": critic,
                "actor_loss": actor,
                "temperature": temperature,
                "entropy": -jnp.mean(log_prob),
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
