"""The second soft actor-critic ([SAC2]): critics, their slow copies and a learned temperature."""

import math
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from sacbrax.agents import batch_norm, hyperparameters, losses
from sacbrax.agents.actor_critic import ActorCritic
from sacbrax.agents.agent import AgentState, Pass
from sacbrax.agents.critics import Returns, members_of
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.soft_actor_critic import Fresh, SoftActorCritic
from sacbrax.config import Config, ConfigError, ScheduleConfig
from sacbrax.core.types import Array, Key, Metrics, Params, Transition
from sacbrax.parallel.shards import Shards
from sacbrax.xla import random

# Of one squashed action relative to a prior [nats]: the logarithm of the prior's measure of [-1, 1].
HIGHEST_ENTROPY = {"uniform": math.log(2.0), "normal": math.log(math.erf(math.sqrt(0.5)))}
NORMAL_ENTROPY = 0.5 * math.log(2.0 * math.pi * math.e)  # of one number with deviation 1 [nats]


class SACv2(SoftActorCritic):
    """Critics, their slow copies and a learned temperature ([SAC2])."""

    own: ClassVar = "log_temperature"
    rates: ClassVar = {**ActorCritic.rates, "log_temperature": "temperature_learning_rate"}
    delayed: ClassVar = (*ActorCritic.delayed, "log_temperature")

    def __init__(self, config: Config, sizes: tuple[int, int], shards: Shards, actor_inputs: int | None):
        super().__init__(config, sizes, shards, actor_inputs)
        self._joint = config.network.critic_batch_norm != "off"
        self.targets = () if self._joint else ("critic",)
        asked = (config.algorithm.target_critics or self.critics.num_critics) / self.critics.num_critics
        # The target's, at s'; in a joint pass that is one more batch of the critics' own.
        following = Pass("critic", weights=True, inputs=True) if self._joint else Pass("critic", share=asked)
        self.resting_passes = (*self.resting_passes, Pass("actor"), following)
        self.passes = (*self.passes, Pass("actor"), following)

    @staticmethod
    def check(config: Config, action_size: int) -> None:
        """Raise `ConfigError` for an entropy that no policy can have.

        Squashed actions cannot come nearer to their prior than the prior cut to [-1, 1]^A. Where more entropy is wanted
        the temperature grows until numbers end.
        """
        algorithm = config.algorithm
        wanted, sigma = algorithm.target_entropy, algorithm.target_sigma
        if not config.policy.squash:
            return
        each = HIGHEST_ENTROPY[algorithm.action_prior]
        if sigma is not None and NORMAL_ENTROPY + math.log(sigma) >= each:
            raise ConfigError(
                f"algorithm.target_sigma: must be below {math.exp(each - NORMAL_ENTROPY):.3f}, which has all the "
                f"entropy that actions in [-1, 1] can have relative to a {algorithm.action_prior} prior, got {sigma:g}"
            )
        highest = max(wanted.values) if isinstance(wanted, ScheduleConfig) else wanted
        limit = action_size * each
        if highest is not None and highest >= limit:
            raise ConfigError(
                f"algorithm.target_entropy: must be below {limit:.3f}, the most that {action_size} actions in [-1, 1] "
                f"can have relative to a {algorithm.action_prior} prior, got {highest:g}; usual is {-action_size}"
            )

    @staticmethod
    def hyper(config: Config, action_size: int) -> Hyper:
        """The traced numbers; the wanted entropy where it is null is that of `target_sigma`, or else minus the number
        of actions."""
        hyper = hyperparameters.of(config)
        sigma = config.algorithm.target_sigma
        if hyper["target_entropy"] is None:
            each = -1.0 if sigma is None else NORMAL_ENTROPY + math.log(sigma)
            hyper["target_entropy"] = hyperparameters.create(action_size * each)
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

    def _keys(self, key: Key) -> tuple[Key, Key, Key]:
        next_key, action_key = random.split(key)
        if not self._likelihood_ratio:
            return next_key, action_key, action_key  # the baseline is not asked for
        action_key, value_key = random.split(action_key)
        return next_key, action_key, value_key

    def _temperature(self, params: dict[str, Params]) -> Array:
        return jnp.exp(params["log_temperature"])

    def _state_value(self, agent: AgentState, observation: Array, key: Key) -> Array:
        """One-sample estimate of E[Q - alpha (log pi - log prior)]: there is no V(s)."""
        return self._soft_returns(agent, agent.params["critic"], observation, key).mean

    def _next_returns(self, agent: AgentState, observation: Array, members: Array | None, key: Key) -> Returns:
        critics = (agent.params if self._joint else agent.target)["critic"]
        return self._soft_returns(agent, critics if members is None else members_of(critics, members), observation, key)

    def _soft_returns(self, agent: AgentState, critics: Params, observation: Array, key: Key) -> Returns:
        """After an action that the policy draws, its entropy included: [B, O] -> [B]."""
        action, log_prob, _ = self.policy.sample(agent.params["actor"], observation, key)
        return self._soft(agent, self.critics.outputs(critics, observation, action), action, log_prob)

    def _soft(self, agent: AgentState, outputs: Array, action: Array, log_prob: Array) -> Returns:
        """Of an action that the policy drew, with its entropy: [E, B, ...], [B, A], [B] -> [B]."""
        returns = self.critics.reduced(outputs, self._algorithm.target_q)
        bonus = self._temperature(agent.params) * (log_prob - self._log_prior(action))
        return returns._replace(mean=returns.mean - bonus)

    def _critic_pass(
        self, agent: AgentState, batch: Transition, hyper: Hyper, members: Array | None, key: Key
    ) -> Callable[[Params], tuple[Array, Returns]]:
        if not self._joint:
            return super()._critic_pass(agent, batch, hyper, members, key)
        action, log_prob, _ = self.policy.sample(agent.params["actor"], batch.next_observation, key)
        observations = jnp.concatenate([batch.observation, batch.next_observation])
        actions = jnp.concatenate([batch.action, action])

        def both(critics: Params) -> tuple[Array, Returns]:
            """At (s, a) and (s', a') in one batch, by whose statistics both are normalized."""
            together = self.critics.outputs(batch_norm.learning(critics), observations, actions)
            outputs, following = jnp.split(together, 2, axis=1)
            following = losses.stop(following if members is None else following[members])
            return outputs, self._target_of(self._soft(agent, following, action, log_prob), batch, hyper)

        return both

    def _own_loss(
        self, params: dict[str, Params], observation: Array, fresh: Fresh, members: Array | None, hyper: Hyper
    ) -> tuple[Array, Metrics]:
        """The temperature's."""
        relative = fresh.log_prob - fresh.log_prior
        loss = losses.temperature_loss(params["log_temperature"], relative, hyper["target_entropy"])
        return loss, {"temperature": self._temperature(params)}
