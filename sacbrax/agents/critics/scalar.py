"""The plain critics: each network puts out its value, which moves by the squared distance."""

from sacbrax.agents import losses
from sacbrax.agents.critics.base import Critics, Returns
from sacbrax.config import Config
from sacbrax.core.types import Array, Params


class ScalarCritics(Critics):
    """One output for each, the value itself; see `Critics` for the methods."""

    def __init__(self, config: Config, num_critics: int):
        super().__init__(config, num_critics, 1)

    def outputs(self, params: Params, observation: Array, action: Array) -> Array:
        return super().outputs(params, observation, action)[..., 0]

    def value(self, outputs: Array) -> Array:
        return outputs

    def loss(self, outputs: Array, target: Returns) -> Array:
        """`losses.critic_loss` from the mean."""
        return losses.critic_loss(outputs, target.mean)
