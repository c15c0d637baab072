"""The squashed Gaussian policy: tanh(u), u ~ N(mean(s), diag(sigma(s)^2))."""

import jax.numpy as jnp

from sacbrax import distributions
from sacbrax.config import Config
from sacbrax.networks import actor_mlp
from sacbrax.policies.base import QFunction
from sacbrax.types import Array, Key, Metrics, Params


class GaussianPolicy:
    """One Gaussian per state; see `Policy` for the methods."""

    def __init__(self, config: Config, action_size: int):
        self._mlp = actor_mlp(config.network, 2 * action_size)
        self._bounds = (config.policy.log_sigma_min, config.policy.log_sigma_max)

    def _parameters(self, params: Params, observation: Array) -> tuple[Array, Array]:
        mean, log_sigma = jnp.split(self._mlp.apply(params, observation), 2, axis=-1)
        return mean, jnp.clip(log_sigma, *self._bounds)

    def init(self, key: Key, observation: Array) -> Params:
        return self._mlp.init(key, observation)

    def sample(self, params: Params, observation: Array, key: Key) -> tuple[Array, Array, Array]:
        return distributions.sample_squashed_normal(key, *self._parameters(params, observation))

    def log_prob(self, params: Params, observation: Array, pre_tanh: Array) -> Array:
        return distributions.squashed_normal_log_prob(pre_tanh, *self._parameters(params, observation))

    def mode(self, params: Params, observation: Array, q_function: QFunction) -> Array:
        mean, _ = self._parameters(params, observation)
        return jnp.tanh(mean)

    def diagnostics(self, params: Params, observation: Array) -> Metrics:
        mean, log_sigma = self._parameters(params, observation)
        return {"mean_abs": jnp.mean(jnp.abs(mean)), "sigma": jnp.mean(jnp.exp(log_sigma))}
