"""What both versions of soft actor-critic share: the update, and fresh actions with their entropy."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from sacbrax.agents import batch_norm, hyperparameters, losses
from sacbrax.agents.actor_critic import ActorCritic
from sacbrax.agents.agent import AgentState, Pass
from sacbrax.agents.critics import REDUCTIONS, Returns
from sacbrax.agents.distributions import standard_normal_log_prob
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.config import Config
from sacbrax.core.metrics import Sums
from sacbrax.core.types import Array, Key, Metrics, Params, Transition
from sacbrax.parallel.shards import Shards
from sacbrax.xla import random


class Fresh(NamedTuple):
    """An action a~ that the policy draws now, at each observation of a minibatch."""

    action: Array  # [B, A]
    log_prob: Array  # [B]
    log_prior: Array  # [B]
    q: Array  # [E, B]


class SoftActorCritic(ActorCritic):
    """What both versions share. Each has `init`, and of the update what is its own: `_keys`, `_temperature`,
    `_next_returns`, `_state_value` and `_own_loss`, that of the group `own`."""

    own: ClassVar[str]

    def __init__(self, config: Config, sizes: tuple[int, int], shards: Shards, actor_inputs: int | None):
        super().__init__(config, sizes, shards, actor_inputs)
        self._regularized = config.policy.regularization > 0
        self._likelihood_ratio = config.algorithm.policy_gradient == "likelihood_ratio"
        # Of every update: the critics at (s, a) for their own loss; the actor at s and the critics at (s, a~) for the
        # actor's. Batch normalization of what goes in has parameters before the first layer.
        actor, critic = (getattr(config.network, f"{part}_batch_norm") != "off" for part in ("actor", "critic"))
        self.resting_passes: tuple[Pass, ...] = (Pass("critic", weights=True, inputs=critic),)
        policy = Pass("actor", weights=True, inputs=actor), Pass("critic", inputs=True)
        self.passes: tuple[Pass, ...] = (*self.resting_passes, *policy)

    def update(
        self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key, policy: bool = True
    ) -> tuple[AgentState, Sums]:
        """One gradient step of all losses from the same parameters and minibatch, then the target's; without `policy`
        of those alone that critics and state value have."""
        hyper = hyperparameters.at(hyper, agent.gradient_steps)
        learning = self._learning(agent, policy)
        own_learns = self.own in learning
        key, members = self._members(key)
        next_key, action_key, value_key = self._keys(key)
        temperature = self._temperature(agent.params)

        # What the critics learn, and V(s) where the actor's gradient is the score function's.
        critic_pass = self._critic_pass(agent, batch, hyper, members, next_key)
        baseline = None
        if self._likelihood_ratio and policy:
            baseline = self._state_value(agent, batch.observation, value_key)

        def total(moved: dict[str, Params]) -> tuple[Array, Metrics]:
            params = {**agent.params, **moved}
            if policy or own_learns:
                fresh = self._fresh(params, batch.observation, action_key)
            outputs, target = critic_pass(params["critic"])
            loss, q = self.critics.loss(outputs, target), self.critics.value(outputs)
            metrics = {"critic_loss": loss, "q_mean": jnp.mean(q)} | self.critics.metrics(target)
            if policy:
                actor = self._actor_loss(params["actor"], batch.observation, fresh, temperature, baseline, hyper)
                loss, metrics = loss + actor, metrics | {"actor_loss": actor, "entropy": -jnp.mean(fresh.log_prob)}
            if own_learns:
                own, own_metrics = self._own_loss(params, batch.observation, fresh, members, hyper)
                loss, metrics = loss + own, metrics | own_metrics
            return loss, metrics

        # Each loss has parameters of its own, and what it takes from other networks is constant in it: one gradient of
        # their sum is each one's.
        grads, metrics = jax.grad(total, has_aux=True)(learning)
        return self._apply(agent, grads, metrics, hyper)

    def diagnostics(self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key) -> Metrics:
        """Statistics of critics, state value and Bellman errors, then the policy's own."""
        next_key, value_key, key = random.split(key, 3)
        next_key, members = self._members(next_key)
        value = self._state_value(agent, batch.observation, value_key)
        target = self._td_target(agent, batch, hyperparameters.at(hyper, agent.gradient_steps), members, next_key)
        _, log_prob, _ = self.policy.sample(agent.params["actor"], batch.observation, key)
        own = {"vf_mean": jnp.mean(value), "vf_std": jnp.std(value), "policy_log_prob": jnp.mean(log_prob)}
        return self._critic_diagnostics(agent, batch, target.mean) | own | self._policy_diagnostics(agent, batch)

    def _keys(self, key: Key) -> tuple[Key, Key, Key]:
        """Of an update: for V(s'), for the fresh actions, and for the baseline V(s)."""
        raise NotImplementedError

    def _temperature(self, params: dict[str, Params]) -> Array:
        """The weight of the entropy, []."""
        raise NotImplementedError

    def _state_value(self, agent: AgentState, observation: Array, key: Key) -> Array:
        """V(s) by the trained networks, [B, O] -> [B]."""
        raise NotImplementedError

    def _next_returns(self, agent: AgentState, observation: Array, members: Array | None, key: Key) -> Returns:
        """What may follow after s', entropy included, by the target networks. [B, O] -> [B]."""
        raise NotImplementedError

    def _own_loss(
        self, params: dict[str, Params], observation: Array, fresh: Fresh, members: Array | None, hyper: Hyper
    ) -> tuple[Array, Metrics]:
        """The loss of what this version learns beside actor and critics, [], and its metrics."""
        raise NotImplementedError

    def _critic_pass(
        self, agent: AgentState, batch: Transition, hyper: Hyper, members: Array | None, key: Key
    ) -> Callable[[Params], tuple[Array, Returns]]:
        """Of the critics' parameters what they put out at (s, a), and what they should learn: [E, B, ...], [B]."""
        target = self._td_target(agent, batch, hyper, members, key)
        return lambda critics: (self.critics.outputs(critics, batch.observation, batch.action), target)

    def _members(self, key: Key) -> tuple[Key, Array | None]:
        """The critics, int32 [M], that have a say in an update's targets, drawn anew where they are not all; and the
        key for everything else."""
        count, drawn = self._algorithm.num_critics, self._algorithm.target_critics
        if drawn is None:
            return key, None
        key, draw_key = random.split(key)
        return key, jax.lax.top_k(random.uniform(draw_key, (count,)), drawn)[1]

    def _td_target(
        self, agent: AgentState, batch: Transition, hyper: Hyper, members: Array | None, key: Key
    ) -> Returns:
        """What the critics learn, [B], from the target networks."""
        following = self._next_returns(agent, batch.next_observation, members, key)
        return self._target_of(following, batch, hyper)

    @staticmethod
    def _target_of(following: Returns, batch: Transition, hyper: Hyper) -> Returns:
        """What the critics learn of what follows, [B] -> [B]."""
        target = losses.td_target(batch.reward, batch.discount, following.mean, hyper["reward_scale"])
        return following.about(target, batch.discount)

    def _fresh(self, params: dict[str, Params], observation: Array, key: Key) -> Fresh:
        """Its gradient is a sample's, or with the likelihood ratio none at all: then the action is a constant, whose
        probability alone moves with the actor. Critics are constants here."""
        actor = batch_norm.learning(params["actor"])
        action, log_prob, pre_tanh = self.policy.sample(actor, observation, key)
        if self._likelihood_ratio:
            action, pre_tanh = losses.stop(action), losses.stop(pre_tanh)
            log_prob = self.policy.log_prob(actor, observation, pre_tanh)
        q = self.critics(losses.stop(params["critic"]), observation, action)
        return Fresh(action, log_prob, self._log_prior(action), q)

    def _actor_loss(
        self, actor: Params, observation: Array, fresh: Fresh, temperature: Array, baseline: Array | None, hyper: Hyper
    ) -> Array:
        """By the gradient that is asked for, and with the policy's own term. baseline: V(s) [B], for the likelihood
        ratio alone."""
        q = REDUCTIONS[self._algorithm.policy_q](fresh.q)  # that the actor climbs
        if baseline is None:
            loss = losses.actor_loss(q, fresh.log_prob, fresh.log_prior, temperature)
        else:
            loss = losses.likelihood_ratio_loss(q, fresh.log_prob, fresh.log_prior, temperature, baseline)
        if not self._regularized:
            return loss
        return loss + hyper["regularization"] * self.policy.regularization(actor, observation)

    def _log_prior(self, action: Array) -> Array:
        """log p(a) of `algorithm.action_prior`, up to the uniform's constant. [B, A] -> [B]."""
        if self._algorithm.action_prior == "normal":
            return standard_normal_log_prob(action)
        return jnp.zeros_like(action[:, 0])
