"""What both versions of soft actor-critic share: the agent's state, how it acts, and the optimizer step."""

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.agents import adam, losses
from sacbrax.agents.distributions import standard_normal_log_prob
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.networks import Critics
from sacbrax.agents.policies import make_policy
from sacbrax.config import Config
from sacbrax.core.types import Array, Key, Metrics, Params, Transition
from sacbrax.parallel.shards import Shards
from sacbrax.xla import random

NUM_CRITICS = 2


class AgentState(struct.PyTreeNode):
    """Everything learnt: one Adam serves all parameters (it is elementwise), with a rate for each group."""

    params: dict[str, Params]
    target: dict[str, Params]
    optimizer: adam.State
    gradient_steps: Array  # int32 [], updates applied
    bad_updates: Array  # int32 [], updates skipped in a row; stays once it has reached `train.max_bad_updates`


class SoftActorCritic:
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
        next_key, value_key, key = random.split(key, 3)
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
        finite = jnp.isfinite(_sum_of_squares(jax.tree.leaves(grads)))
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


def _sum_of_squares(arrays: list[Array]) -> Array:
    """Of all numbers, []. On a GPU one sum over them all: a sum for each array would be a kernel for each."""

    def each(*arrays: Array) -> Array:
        return sum((jnp.sum(x * x) for x in arrays), jnp.zeros(()))

    def together(*arrays: Array) -> Array:
        numbers = jnp.concatenate([x.ravel() for x in arrays])
        return jnp.sum(numbers * numbers)

    return jax.lax.platform_dependent(*arrays, cpu=each, default=together)
