"""What critics share whose networks put out a distribution of returns over fixed atoms, fitted by cross-entropy.

Their value is the distribution's mean, in the units of any critic's: whoever reads Q knows nothing of atoms.
"""

import dataclasses
from abc import abstractmethod

import jax
import jax.numpy as jnp

from sacbrax.agents.critics.base import Critics, Returns
from sacbrax.agents.losses import stop
from sacbrax.config import Config
from sacbrax.core.types import Array, Metrics, Params
from sacbrax.policy_file.numpy_support import Support


class DistributionalCritics(Critics):
    """Logits of K atoms for each network; a subclass says which distribution a target is."""

    def __init__(self, config: Config, num_critics: int):
        super().__init__(config, num_critics, config.critic.num_atoms)
        self._support = Support(dataclasses.asdict(config.critic))
        self.atoms = jnp.asarray(self._support.atoms)

    def outputs(self, params: Params, observation: Array, action: Array) -> Array:
        """Logits [E, B, K]."""
        outputs, prior = super().outputs(params, observation, action), self._support.prior_logits
        return outputs if prior is None else outputs + jnp.asarray(prior)[None, None, :]

    def value(self, outputs: Array) -> Array:
        # No matrix product: a GPU's would round the atoms.
        return jnp.sum(jax.nn.softmax(outputs) * self.atoms[None, None, :], axis=-1)

    def loss(self, outputs: Array, target: Returns) -> Array:
        """sum_i mean cross-entropy of the members' distributions to the target's."""
        wanted = stop(self.projected(target))[None]
        return -jnp.sum(jnp.mean(jnp.sum(wanted * jax.nn.log_softmax(outputs), axis=-1), axis=1))

    def metrics(self, target: Returns) -> Metrics:
        """`off_support`: how much of the targets' probability lies beyond the ends of the support."""
        values, probabilities = spread(target)
        gap = 0.01 * (self.atoms[1:] - self.atoms[:-1])  # rounding is no miss
        beyond = (values < self.atoms[0] - gap[0]) | (values > self.atoms[-1] + gap[-1])
        return {"off_support": jnp.mean(jnp.sum(jnp.where(beyond, probabilities, 0.0), axis=1))}

    @abstractmethod
    def projected(self, target: Returns) -> Array:
        """Probabilities [B, K] of the atoms that stand for a target [B]."""


def spread(returns: Returns) -> tuple[Array, Array]:
    """Returns [B, J] and their probabilities [B, J]; of a mere mean J is 1."""
    mean = returns.mean[:, None]
    if returns.deviations is None or returns.probabilities is None:
        return mean, jnp.ones_like(mean)
    return mean + returns.deviations, returns.probabilities
