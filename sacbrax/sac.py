"""Soft actor-critic: the agent's state, how it acts, and the order of one update, in one visible function each.

Observations arrive normalized and transitions n-step; this module knows neither replay nor environments.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax import adam, draws, losses
from sacbrax.config import Config
from sacbrax.distributions import standard_normal_log_prob
from sacbrax.networks import Critics, Value
from sacbrax.policies import make_policy
from sacbrax.schedules import Hyper
from sacbrax.shards import Shards
from sacbrax.types import Array, Key, Metrics, Params, Transition

NUM_CRITICS = 2


class AgentState(struct.PyTreeNode):
    """Everything learnt: one Adam serves all parameters (it is elementwise), with a rate for each group."""

    params: dict[str, Params]
    target: dict[str, Params]
    optimizer: adam.State
    gradient_steps: Array  # int32 [], updates applied
    bad_updates: Array  # int32 [], updates skipped in a row; stays once it has reached `train.max_bad_updates`


class _SoftActorCritic:
    """What both versions share: networks, acting, and the optimizer step. An agent is stateless.

    Each version: `init(key)` gives fresh parameters, targets as copies; `update(agent, batch, hyper, key)` makes one
    gradient step of every loss from the same parameters and minibatch [B], then moves the target.
    """

    target_group: str  # the parameter group that the target network follows

    def __init__(self, config: Config, sizes: tuple[int, int], shards: Shards, actor_inputs: int | None):
        observation_size, action_size = sizes
        self._shards = shards
        self.policy = make_policy(config, action_size, actor_inputs)
        self.critics = Critics(config.network, NUM_CRITICS)
        self._algorithm = config.algorithm
        self._regularized = config.policy.regularization > 0
        self._max_bad_updates = config.train.max_bad_updates
        self._observation = jnp.zeros((1, observation_size))
        self._action = jnp.zeros((1, action_size))

    def act(self, agent: AgentState, observation: Array, key: Key) -> Array:
        """Sampled actions, [N, O] -> [N, A]."""
        return self.policy.sample(agent.params["actor"], observation, key)[0]

    def act_deterministic(self, agent: AgentState, observation: Array) -> Array:
        """The policy's mode, [N, O] -> [N, A]."""

        def q_function(obs: Array, action: Array) -> Array:
            return jnp.min(self.critics(agent.params["critic"], obs, action), axis=0)

        return self.policy.mode(agent.params["actor"], observation, q_function)

    def diagnostics(self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key) -> Metrics:
        """Statistics of critics, state value and Bellman errors, then the policy's own."""
        next_key, value_key, key = draws.split(key, 3)
        params, observation = agent.params, batch.observation
        q = self.critics(params["critic"], observation, batch.action)  # [E, B]
        value = self._state_value(agent, params, observation, value_key)
        target = self._td_target(agent, batch, hyper.at(agent.gradient_steps), next_key)
        _, log_prob, _ = self.policy.sample(params["actor"], observation, key)
        metrics = {"mean_qf_diff": jnp.mean(jnp.abs(q[0] - q[1])), "vf_mean": jnp.mean(value), "vf_std": jnp.std(value)}
        for i, member in enumerate(q, start=1):
            metrics[f"qf{i}_mean"], metrics[f"qf{i}_std"] = jnp.mean(member), jnp.std(member)
            metrics[f"mean_sq_bellman_error{i}"] = losses.critic_loss(member[None], target)
        metrics["policy_log_prob"] = jnp.mean(log_prob)
        own = self.policy.diagnostics(params["actor"], observation)
        return metrics | {f"policy_{name}": value for name, value in own.items()}

    def _td_target(self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key) -> Array:
        """What the critics learn, [B], from the target networks."""
        next_value = self._state_value(agent, agent.target, batch.next_observation, key)
        return losses.td_target(batch.reward, batch.discount, next_value, hyper.reward_scale)

    def _state_value(self, agent: AgentState, params: dict[str, Params], observation: Array, key: Key) -> Array:
        """V(s) by the networks in `params`, the trained or the target ones. [B, O] -> [B]."""
        raise NotImplementedError

    def _create(self, params: dict[str, Params]) -> AgentState:
        return AgentState(
            params=params,
            # A copy in memory too: the state is donated, and two leaves may not share one buffer.
            target={self.target_group: jax.tree.map(jnp.copy, params[self.target_group])},
            optimizer=adam.init(params),
            gradient_steps=jnp.zeros((), jnp.int32),
            bad_updates=jnp.zeros((), jnp.int32),
        )

    def _policy_q(self, q: Array) -> Array:
        """The Q value the actor climbs, [E, B] -> [B]."""
        return q[0] if self._algorithm.policy_q == "first" else jnp.min(q, axis=0)

    def _fresh_action(self, actor: Params, observation: Array, key: Key) -> tuple[Array, Array]:
        """An action for the losses and its log-probability. Its gradient is a sample's, or with the likelihood ratio
        none at all: then the action is a constant, whose probability alone moves with the actor."""
        action, log_prob, pre_tanh = self.policy.sample(actor, observation, key)
        if self._algorithm.policy_gradient == "reparameterized":
            return action, log_prob
        return losses.stop(action), self.policy.log_prob(actor, observation, losses.stop(pre_tanh))

    def _log_prior(self, action: Array) -> Array:
        """log p(a) of `algorithm.action_prior`, up to the uniform's constant. [B, A] -> [B]."""
        if self._algorithm.action_prior == "normal":
            return standard_normal_log_prob(action)
        return jnp.zeros_like(action[:, 0])

    def _regularizer(self, actor: Params, observation: Array, hyper: Hyper) -> Array:
        """The policy's term in the actor loss, []."""
        if not self._regularized:
            return jnp.zeros(())
        return hyper.regularization * self.policy.regularization(actor, observation)

    def _apply(
        self, agent: AgentState, grads: dict[str, Params], metrics: Metrics, hyper: Hyper
    ) -> tuple[AgentState, Metrics]:
        """Adam on every group by the mean gradient of all shards, then the target every
        `target_update_interval`-th step.

        An update whose gradient or its square is not finite is skipped: nothing moves but the counts.
        """
        grads, metrics = self._shards.mean((grads, metrics))
        # One sum tells. Of squares, for Adam keeps them: a gradient of 1e20 would stop its parameter for ever.
        finite = jnp.isfinite(sum(jnp.sum(grad * grad) for grad in jax.tree.leaves(grads)))
        params, optimizer = adam.step(agent.params, grads, agent.optimizer, hyper.rates(), finite)
        steps = agent.gradient_steps + finite
        moves = finite & (steps % self._algorithm.target_update_interval == 0)
        tau = jnp.where(moves, hyper.tau, 0.0)
        followed = {self.target_group: params[self.target_group]}
        target = jax.tree.map(lambda t, p: t + tau * (p - t), agent.target, followed)

        stuck = agent.bad_updates >= self._max_bad_updates
        bad_updates = jnp.where(finite & ~stuck, 0, agent.bad_updates + ~finite)
        metrics = {name: jnp.where(finite, value, 0.0) for name, value in metrics.items()}
        counts = {"applied_updates": finite.astype(jnp.int32), "skipped_updates": (~finite).astype(jnp.int32)}
        return AgentState(params, target, optimizer, steps, bad_updates), metrics | counts


class SACv1(_SoftActorCritic):
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


class SACv2(_SoftActorCritic):
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
        next_key, key = draws.split(key)
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
                second_key = draws.fold_in(key, 1)
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


ALGORITHMS: dict[str, type] = {"sac_v1": SACv1, "sac_v2": SACv2}


def make_agent(
    config: Config,
    observation_size: int,
    action_size: int,
    shards: Shards = Shards(),
    actor_inputs: int | None = None,
) -> Any:
    """The algorithm that `algorithm.name` names. Its policy sees the first `actor_inputs` entries of an observation, or
    all; critics and state value see all."""
    return ALGORITHMS[config.algorithm.name](config, (observation_size, action_size), shards, actor_inputs)
