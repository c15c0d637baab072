"""Categorical critics (C51, arXiv:1707.06887): the target is a whole distribution, projected onto the atoms."""

import jax
import jax.numpy as jnp

from sacbrax.agents.critics.base import Returns
from sacbrax.agents.critics.distributional import DistributionalCritics, spread
from sacbrax.core.types import Array


class CategoricalCritics(DistributionalCritics):
    """The next return's distribution, moved and scaled as the Bellman equation moves its mean."""

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

    def projected(self, target: Returns) -> Array:
        return project(*spread(target), self.atoms)


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
