"""The latent-space policy: u = f(h; s), h ~ N(0, I), with f a conditional RealNVP (arXiv:1804.02808, 1605.08803).

An MLP turns the observation into features; each affine coupling layer keeps every other dimension and moves the rest by
a network of what it kept and the features. f is invertible in h, so every action has an exact log-probability.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.agents import distributions
from sacbrax.agents.networks import actor_mlp, coupling_mlp
from sacbrax.agents.policies.base import Policy
from sacbrax.config import Config
from sacbrax.core.types import Array, Key, Metrics, Params
from sacbrax.policy_file.numpy_policy import spread_latents
from sacbrax.xla import random


class LatentPolicy(Policy):
    """`policy.coupling_layers` couplings; the deterministic action is the best of `policy.candidates` images by Q."""

    def __init__(self, config: Config, action_size: int, inputs: int | None = None):
        super().__init__(config, action_size, inputs)
        self._features = config.policy.feature_size or 2 * action_size
        self._preprocessor = actor_mlp(config.network, self._features, inputs)
        self._coupling = coupling_mlp(config.network, config.policy.coupling_hidden_sizes, 2 * action_size)
        self._layers = config.policy.coupling_layers
        # 1 where a layer keeps the dimension; neighbouring layers keep the opposite halves.
        index = np.arange(self._layers)[:, None] + np.arange(action_size)[None]
        self._kept = (index % 2).astype(np.float32)
        self._latents = spread_latents(config.policy.candidates, action_size)

    def init(self, key: Key, observation: Array) -> Params:
        key, *keys = jax.random.split(key, 1 + self._layers)
        x = jnp.zeros((1, self._action_size + self._features))
        couplings = {f"coupling_{i}": self._coupling.init(k, x) for i, k in enumerate(keys)}
        return {"preprocessor": self._preprocessor.init(key, observation), **couplings}

    def _affine(self, params: Params, layer: int, value: Array, features: Array) -> tuple[Array, Array]:
        """Shift and log scale of one coupling, zero where it keeps the dimension; the same for its inverse."""
        kept = self._kept[layer][None]
        x = jnp.concatenate([value * kept, features], axis=-1)
        output: Any = self._coupling.apply(params[f"coupling_{layer}"], x)
        shift, log_scale = jnp.split(output, 2, axis=-1)
        return shift * (1.0 - kept), jnp.clip(log_scale, *self._log_sigma_bounds) * (1.0 - kept)

    def _forward(self, params: Params, features: Array, latent: Array) -> tuple[Array, list[Array]]:
        """u = f(h) and the log scales of the couplings."""
        value, log_scales = latent, []
        for layer in range(self._layers):
            shift, log_scale = self._affine(params, layer, value, features)
            value = value * jnp.exp(log_scale) + shift
            log_scales.append(log_scale)
        return value, log_scales

    def _inverse(self, params: Params, features: Array, value: Array) -> tuple[Array, list[Array]]:
        """h with f(h) = u and the log scales of the couplings."""
        log_scales = []
        for layer in reversed(range(self._layers)):
            shift, log_scale = self._affine(params, layer, value, features)
            value = (value - shift) * jnp.exp(-log_scale)
            log_scales.append(log_scale)
        return value, log_scales

    def _observe(self, params: Params, observation: Array) -> Array:
        return self._preprocessor.apply(params["preprocessor"], observation)

    def draw(self, params: Params, observation: Array, key: Key) -> tuple[Array, Array]:
        latent = random.normal(key, (observation.shape[0], self._action_size))
        value, log_scales = self._forward(params, self._observe(params, observation), latent)
        return value, distributions.standard_normal_log_prob(latent) - _log_det(log_scales)

    def log_density(self, params: Params, observation: Array, pre_tanh: Array) -> Array:
        latent, log_scales = self._inverse(params, self._observe(params, observation), pre_tanh)
        return distributions.standard_normal_log_prob(latent) - _log_det(log_scales)

    def candidates(self, params: Params, observation: Array) -> Array:
        features = self._observe(params, observation)

        def image(latent: Array) -> Array:
            return self._forward(params, features, jnp.broadcast_to(latent, (features.shape[0], self._action_size)))[0]

        return jax.vmap(image, out_axes=1)(jnp.asarray(self._latents)[:, None, :])

    def regularization(self, params: Params, observation: Array) -> Array:
        """1/2 mean of the squared log scales at h = 0, which keeps the flow from collapsing."""
        _, log_scales = self._at_centre(params, observation)
        return 0.5 * jnp.mean(jnp.stack(log_scales) ** 2)

    def diagnostics(self, params: Params, observation: Array) -> Metrics:
        value, log_scales = self._at_centre(params, observation)
        return {
            "mean_abs": jnp.mean(jnp.abs(value)),
            "log_scale": jnp.mean(_log_det(log_scales)) / self._action_size,
            "candidate_spread": jnp.mean(jnp.std(self.candidates(params, observation), axis=1)),
        }

    def _at_centre(self, params: Params, observation: Array) -> tuple[Array, list[Array]]:
        features = self._observe(params, observation)
        return self._forward(params, features, jnp.zeros((observation.shape[0], self._action_size)))


def _log_det(log_scales: list[Array]) -> Array:
    return jnp.sum(jnp.stack(log_scales), axis=(0, -1))
