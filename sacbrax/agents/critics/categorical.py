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
        values, probabilities = spread(target)
        if not self._support.even:
            return project(values, probabilities, self.atoms)
        # A CPU adds up in order, and in K steps what `project` has in K^2; a GPU would add in any order.
        return jax.lax.platform_dependent(values, probabilities, self.atoms, cpu=scatter, default=project)


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
