"""The Gaussian policy: u ~ N(mean(s), diag(sigma(s)^2))."""

import jax.numpy as jnp
import numpy as np

from sacbrax.agents import distributions
from sacbrax.agents.networks import actor_mlp
from sacbrax.agents.policies.base import Policy
from sacbrax.config import Config
from sacbrax.core.types import Array, Key, Metrics, Params


class GaussianPolicy(Policy):
    """One Gaussian per state; see `Policy` for the methods."""

    def __init__(self, config: Config, action_size: int, inputs: int | None = None):
        super().__init__(config, action_size, inputs)
        self._mlp = actor_mlp(config.network, 2 * action_size, inputs)

    def _parameters(self, params: Params, observation: Array) -> tuple[Array, Array]:
        mean, log_sigma = jnp.split(self._mlp.apply(params, observation), 2, axis=-1)
        return mean, jnp.clip(log_sigma, *self._log_sigma_bounds)

    def init(self, key: Key, observation: Array) -> Params:
        places = np.arange(self._action_size, 2 * self._action_size)
        return self._with_initial_sigma(self._mlp.init(key, observation), places)

    def draw(self, params: Params, observation: Array, key: Key) -> tuple[Array, Array]:
        return distributions.sample_normal(key, *self._parameters(params, observation))

    def log_density(self, params: Params, observation: Array, pre_tanh: Array) -> Array:
        return distributions.normal_log_prob(pre_tanh, *self._parameters(params, observation))

    def candidates(self, params: Params, observation: Array) -> Array:
        return self._parameters(params, observation)[0][:, None]

    def regularization(self, params: Params, observation: Array) -> Array:
        """1/2 (mean of mean^2 + mean of log sigma^2)."""
        mean, log_sigma = self._parameters(params, observation)
        return 0.5 * (jnp.mean(mean**2) + jnp.mean(log_sigma**2))

    def diagnostics(self, params: Params, observation: Array) -> Metrics:
        mean, log_sigma = self._parameters(params, observation)
        return {"mean_abs": jnp.mean(jnp.abs(mean)), "sigma": jnp.mean(jnp.exp(log_sigma))}
