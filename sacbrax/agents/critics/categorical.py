"""Categorical critics (C51, arXiv:1707.06887): a distribution of returns over fixed atoms, fitted by cross-entropy to
the whole distribution of the target, projected onto the atoms.

Their value is the distribution's mean, in the units of any critic's: whoever reads Q knows nothing of atoms.
"""

import dataclasses

import jax
import jax.numpy as jnp

from sacbrax.agents.critics.base import Critics, Returns
from sacbrax.agents.losses import stop
from sacbrax.config import Config
from sacbrax.core.types import Array, Metrics, Params
from sacbrax.policy_file.numpy_support import Support


class CategoricalCritics(Critics):
    """Logits of K atoms for each network. The next return's distribution is moved and scaled as the Bellman equation
    moves its mean."""

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

    def reduced(self, outputs: Array, reduction: str) -> Returns:
        """Of the member with the smallest value, at each pair; or the mixture of all members, whose value is their
        mean."""
        probabilities, q = jax.nn.softmax(outputs), self.value(outputs)
        if reduction == "mean":
            mean, chosen = jnp.mean(q, axis=0), jnp.mean(probabilities, axis=0)
        else:
            mean, smallest = jnp.min(q, axis=0), jnp.argmin(q, axis=0)
            chosen = jnp.take_along_axis(probabilities, smallest[None, :, None], axis=0)[0]
        return Returns(mean, self.atoms[None, :] - mean[:, None], chosen)

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

    def projected(self, target: Returns) -> Array:
        """Probabilities [B, K] of the atoms that stand for a target [B]."""
        values, probabilities = spread(target)
        if not self._support.even:
            return project(values, probabilities, self.atoms)
        # A CPU adds up in order, and in K steps what `project` has in K^2; a GPU would add in any order.
        return jax.lax.platform_dependent(values, probabilities, self.atoms, cpu=scatter, default=project)


def spread(returns: Returns) -> tuple[Array, Array]:
    """Returns [B, J] and their probabilities [B, J]; of a mere mean J is 1."""
    mean = returns.mean[:, None]
    if returns.deviations is None or returns.probabilities is None:
        return mean, jnp.ones_like(mean)
    return mean + returns.deviations, returns.probabilities


def project(values: Array, probabilities: Array, atoms: Array) -> Array:
    """Each value's probability on the two atoms beside it, by nearness, so that the mean stays; beyond the ends on the
    end. values and probabilities [B, J], increasing atoms [K] -> [B, K]. C51's algorithm 1, for any gaps."""
    low, gaps = atoms[:-1], atoms[1:] - atoms[:-1]  # [K - 1]
    inside = jnp.clip(values, atoms[0], atoms[-1])[:, :, None]
    # Of each value what goes to the atoms above a gap; summed over J in the middle, which a CPU does row by row.
    above = jnp.clip((inside - low[None, None, :]) * (1.0 / gaps)[None, None, :], 0.0, 1.0)  # [B, J, K - 1]
    above = jnp.sum(above * probabilities[:, :, None], axis=1)
    everything = jnp.sum(probabilities, axis=1, keepdims=True)
    above = jnp.concatenate([everything, above, jnp.zeros_like(everything)], axis=1)
    return above[:, :-1] - above[:, 1:]


def scatter(values: Array, probabilities: Array, atoms: Array) -> Array:
    """`project` for equal gaps, where a value's place among the atoms is a division."""
    place = (jnp.clip(values, atoms[0], atoms[-1]) - atoms[0]) * ((len(atoms) - 1) / (atoms[-1] - atoms[0]))
    below = jnp.clip(place.astype(jnp.int32), 0, len(atoms) - 2)
    above = jnp.minimum(place - below, 1.0) * probabilities  # of each value what goes to the atom above it
    rows = jnp.arange(len(values))[:, None]
    nothing = jnp.zeros((len(values), len(atoms)), probabilities.dtype)
    shares = nothing.at[rows, below].add(probabilities - above, mode="promise_in_bounds")
    return shares.at[rows, below + 1].add(above, mode="promise_in_bounds")
