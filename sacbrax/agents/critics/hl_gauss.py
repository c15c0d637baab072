"""HL-Gauss critics (arXiv:2403.03950): the target is a number, blurred to a normal distribution over the atoms."""

import jax.numpy as jnp
from jax.scipy.special import erf

from sacbrax.agents.critics.base import Returns
from sacbrax.agents.critics.distributional import DistributionalCritics
from sacbrax.config import Config
from sacbrax.core.types import Array


class HLGaussCritics(DistributionalCritics):
    """Every atom gets the normal distribution's share of its bin, which reaches half way to its neighbours."""

    def __init__(self, config: Config, num_critics: int):
        super().__init__(config, num_critics)
        self._sigma = config.critic.sigma

    def projected(self, target: Returns) -> Array:
        return histogram(target.mean, self.atoms, self._sigma)


def histogram(mean: Array, atoms: Array, sigma: float) -> Array:
    """N(mean, sigma gaps) in bins around equidistant atoms, cut at the ends: mean [B], atoms [K] -> [B, K]."""
    gap = atoms[1] - atoms[0]
    edges = jnp.concatenate([atoms - 0.5 * gap, atoms[-1:] + 0.5 * gap])
    inside = jnp.clip(mean, atoms[0], atoms[-1])
    below = erf((edges[None, :] - inside[:, None]) / (jnp.sqrt(2.0) * sigma * gap))  # [B, K + 1]
    return (below[:, 1:] - below[:, :-1]) / (below[:, -1:] - below[:, :1])
