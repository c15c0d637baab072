"""The first soft actor-critic ([SAC]): critics, a state value and its slow copy; the reward scale weighs entropy."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from sacbrax.agents import losses
from sacbrax.agents.actor_critic import ActorCritic
from sacbrax.agents.agent import AgentState, Pass
from sacbrax.agents.critics import REDUCTIONS, Returns
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.networks import Value
from sacbrax.agents.soft_actor_critic import Fresh, SoftActorCritic
from sacbrax.config import Config
from sacbrax.core.types import Array, Key, Metrics, Params
from sacbrax.parallel.shards import Shards


class SACv1(SoftActorCritic):
    """Critics, a state value and its slow copy; the reward scale sets the weight of entropy ([SAC] algorithm 1)."""

    targets = ("value",)
    own: ClassVar = "value"
    rates: ClassVar = {**ActorCritic.rates, "value": "value_learning_rate"}

    def __init__(self, config: Config, sizes: tuple[int, int], shards: Shards, actor_inputs: int | None):
        super().__init__(config, sizes, shards, actor_inputs)
        own = Pass("value"), Pass("value", weights=True)  # the target's at s', the value's at s
        self.passes = (*self.passes, *own)
        # The value learns from fresh actions.
        self.resting_passes = (*self.resting_passes, *own, Pass("actor"), Pass("critic"))
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

    def _keys(self, key: Key) -> tuple[Key, Key, Key]:
        return key, key, key  # of which the actions alone need one

    def _temperature(self, params: dict[str, Params]) -> Array:
        return jnp.ones(())

    def _state_value(self, agent: AgentState, observation: Array, key: Key) -> Array:
        return self.value(agent.params["value"], observation)

    def _next_returns(self, agent: AgentState, observation: Array, members: Array | None, key: Key) -> Returns:
        return Returns(self.value(agent.target["value"], observation))

    def _own_loss(
        self, params: dict[str, Params], observation: Array, fresh: Fresh, members: Array | None, hyper: Hyper
    ) -> tuple[Array, Metrics]:
        """The state value's."""
        value = self.value(params["value"], observation)
        q = REDUCTIONS[self._algorithm.target_q](fresh.q if members is None else fresh.q[members])
        loss = losses.value_loss(value, q, fresh.log_prob, fresh.log_prior)
        return loss, {"value_loss": loss}
