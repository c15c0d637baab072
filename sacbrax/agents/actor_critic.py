"""What every algorithm with an actor and critics does alike: its networks, acting, and the optimizer's step."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from sacbrax.agents import adam, batch_norm, hyperparameters, losses, weight_norm
from sacbrax.agents.agent import Agent, AgentState
from sacbrax.agents.critics import make_critics
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.policies import make_policy
from sacbrax.config import Config
from sacbrax.core.metrics import APPLIED_UPDATES, Kind, Sums
from sacbrax.core.types import Array, Key, Metrics, Params, Transition
from sacbrax.parallel.shards import Shards


class ActorCritic(Agent):
    """A policy and an ensemble of critics, in the parameter groups "actor" and "critic"."""

    targets: tuple[str, ...]  # the groups that have slow copies
    # Each group's own learning rate; `algorithm.learning_rate` where that is null.
    rates: ClassVar[Mapping[str, str]] = {"actor": "actor_learning_rate", "critic": "critic_learning_rate"}
    delayed: ClassVar[tuple[str, ...]] = ("actor",)  # the groups that learn in updates with the policy's part alone

    def __init__(self, config: Config, sizes: tuple[int, int], shards: Shards, actor_inputs: int | None):
        observation_size, action_size = sizes
        self._shards = shards
        self.policy = make_policy(config, action_size, actor_inputs)
        self.critics = make_critics(config)
        self._algorithm = config.algorithm
        self._max_bad_updates = config.train.max_bad_updates
        self._observation = jnp.zeros((1, observation_size))
        self._action = jnp.zeros((1, action_size))

    @staticmethod
    def check(config: Config, action_size: int) -> None:
        """Nothing here."""

    @staticmethod
    def hyper(config: Config, action_size: int) -> Hyper:
        """The traced numbers of a configuration."""
        return hyperparameters.of(config)

    def act(self, agent: AgentState, observation: Array, key: Key) -> Array:
        """Sampled actions, [N, O] -> [N, A]."""
        return self.policy.sample(agent.params["actor"], observation, key)[0]

    def act_deterministic(self, agent: AgentState, observation: Array) -> Array:
        """The policy's mode, [N, O] -> [N, A]."""

        def q_function(obs: Array, action: Array) -> Array:
            return jnp.min(self.critics(agent.params["critic"], obs, action), axis=0)

        return self.policy.mode(agent.params["actor"], observation, q_function)

    def _create(self, params: dict[str, Params]) -> AgentState:
        return AgentState(
            params=params,
            # A copy in memory too: the state is donated, and two leaves may not share one buffer.
            target={group: jax.tree.map(jnp.copy, params[group]) for group in self.targets},
            optimizer=adam.init(params, own_counts=self._algorithm.policy_delay > 1),
            gradient_steps=jnp.zeros((), jnp.int32),
            bad_updates=jnp.zeros((), jnp.int32),
        )

    def _critic_diagnostics(self, agent: AgentState, batch: Transition, target: Array) -> Metrics:
        """Of each critic its value and Bellman error, and how far the critics are apart; target [B]."""
        q = self.critics(agent.params["critic"], batch.observation, batch.action)  # [E, B]
        metrics = {"mean_qf_diff": jnp.mean(jnp.max(q, axis=0) - jnp.min(q, axis=0))}
        for i, member in enumerate(q, start=1):
            metrics[f"qf{i}_mean"], metrics[f"qf{i}_std"] = jnp.mean(member), jnp.std(member)
            metrics[f"mean_sq_bellman_error{i}"] = losses.critic_loss(member[None], target)
        return metrics

    def _policy_diagnostics(self, agent: AgentState, batch: Transition) -> Metrics:
        own = self.policy.diagnostics(agent.params["actor"], batch.observation)
        return {f"policy_{name}": value for name, value in own.items()}

    def _learning(self, agent: AgentState, policy: bool) -> dict[str, Params]:
        """The groups that an update moves, with `policy` or without."""
        return {name: group for name, group in agent.params.items() if policy or name not in self.delayed}

    def _apply(
        self, agent: AgentState, grads: dict[str, Params], metrics: Metrics, hyper: Hyper
    ) -> tuple[AgentState, Sums]:
        """Adam on every group that has a gradient, by the mean one of all shards, then the target every
        `target_update_interval`-th step.

        An update whose gradient or its square, or a statistic, is not finite is skipped: nothing moves but the counts.
        """
        grads, metrics = self._shards.mean((grads, metrics))
        # One sum tells. Of squares, for Adam keeps them: a gradient of 1e20 would stop its parameter for ever.
        learnt = batch_norm.without_statistics(grads)
        finite = jnp.isfinite(_sum_of_squares(jax.tree.leaves(learnt)))
        for moved in batch_norm.statistics(grads):  # one that is not finite would stay so
            finite &= jnp.all(jnp.isfinite(moved))
        if (limit := hyper["max_grad_norm"]) is not None:
            learnt = {group: _clipped(tree, limit) for group, tree in learnt.items()}
        settings = adam.Settings(self._algorithm.adam_b1, self._algorithm.adam_b2, hyper["weight_decay"])
        params, optimizer = adam.step(agent.params, learnt, agent.optimizer, self._rates(hyper), finite, settings)
        params = {**params, **weight_norm.project({group: params[group] for group in grads}, finite)}
        params = batch_norm.with_statistics(params, grads, finite)
        steps = agent.gradient_steps + finite
        moves = finite & (steps % self._algorithm.target_update_interval == 0)
        tau = jnp.where(moves, hyper["tau"], 0.0)
        followed = {group: params[group] for group in self.targets}
        target = jax.tree.map(lambda t, p: t + tau * (p - t), agent.target, followed)

        stuck = agent.bad_updates >= self._max_bad_updates
        bad_updates = jnp.where(finite & ~stuck, 0, agent.bad_updates + ~finite)
        metrics = {name: jnp.where(finite, value, 0.0) for name, value in metrics.items()}
        counts = {APPLIED_UPDATES: finite.astype(jnp.int32), "skipped_updates": (~finite).astype(jnp.int32)}
        sums = Sums.of(Kind.PER_UPDATE, metrics) | Sums.of(Kind.COUNT, counts, {APPLIED_UPDATES: None})
        return AgentState(params, target, optimizer, steps, bad_updates), sums

    def _rates(self, hyper: Hyper) -> dict[str, Array]:
        """Adam's step size of each group."""
        own = {group: hyper[key] for group, key in self.rates.items()}
        return {group: hyper["learning_rate"] if rate is None else rate for group, rate in own.items()}


def _clipped(tree: Params, limit: Array) -> Params:
    """The same direction, at most so long: the root of the sum of all squares, [], is bounded."""
    norm = jnp.sqrt(_sum_of_squares(jax.tree.leaves(tree)))
    scale = jnp.minimum(1.0, limit / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))
    return jax.tree.map(lambda x: x * scale, tree)


def _sum_of_squares(arrays: list[Array]) -> Array:
    """Of all numbers, []. On a GPU one sum over them all: a sum for each array would be a kernel for each."""

    def each(first: Array, *rest: Array) -> Array:
        return sum((jnp.sum(x * x) for x in rest), jnp.sum(first * first))

    def together(*arrays: Array) -> Array:
        numbers = jnp.concatenate([x.ravel() for x in arrays])
        return jnp.sum(numbers * numbers)

    return jax.lax.platform_dependent(*arrays, cpu=each, default=together)
