"""The Gaussian mixture policy: u ~ sum_k w_k(s) N(mean_k(s), diag(sigma_k(s)^2))."""

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.agents import distributions
from sacbrax.agents.networks import actor_mlp
from sacbrax.agents.policies.base import Policy
from sacbrax.config import Config
from sacbrax.core.types import Array, Key, Metrics, Params


class MixturePolicy(Policy):
    """`policy.components` Gaussians per state; the deterministic action is the mean of highest Q."""

    def __init__(self, config: Config, action_size: int, inputs: int | None = None):
        super().__init__(config, action_size, inputs)
        self._components = config.policy.components
        self._mlp = actor_mlp(config.network, self._components * (1 + 2 * action_size), inputs)

    def _parameters(self, params: Params, observation: Array) -> tuple[Array, Array, Array]:
        """The network's output is laid out as logits [K] | means [K, A] | log sigmas [K, A]."""
        output, k = self._mlp.apply(params, observation), self._components
        logits, rest = output[:, :k], output[:, k:].reshape(-1, 2, k, self._action_size)
        return logits, rest[:, 0], jnp.clip(rest[:, 1], *self._log_sigma_bounds)

    def init(self, key: Key, observation: Array) -> Params:
        k, width = self._components, self._components * self._action_size
        return self._with_initial_sigma(self._mlp.init(key, observation), np.arange(k + width, k + 2 * width))

    def draw(self, params: Params, observation: Array, key: Key) -> tuple[Array, Array]:
        parameters = self._parameters(params, observation)
        pre_tanh = distributions.sample_mixture(key, *parameters)
        return pre_tanh, distributions.mixture_log_prob(pre_tanh, *parameters)

    def log_density(self, params: Params, observation: Array, pre_tanh: Array) -> Array:
        return distributions.mixture_log_prob(pre_tanh, *self._parameters(params, observation))

    def candidates(self, params: Params, observation: Array) -> Array:
        return self._parameters(params, observation)[1]

    def regularization(self, params: Params, observation: Array) -> Array:
        """1/2 (mean of mean^2 + mean of log sigma^2), over all components."""
        _, mean, log_sigma = self._parameters(params, observation)
        return 0.5 * (jnp.mean(mean**2) + jnp.mean(log_sigma**2))

    def diagnostics(self, params: Params, observation: Array) -> Metrics:
        logits, mean, log_sigma = self._parameters(params, observation)
        log_weight = jax.nn.log_softmax(logits)
        return {
            "mean_abs": jnp.mean(jnp.abs(mean)),
            "sigma": jnp.mean(jnp.exp(log_sigma)),
            "weight_entropy": -jnp.mean(jnp.sum(jnp.exp(log_weight) * log_weight, axis=1)),
            "component_spread": jnp.mean(jnp.std(mean, axis=1)),
        }
