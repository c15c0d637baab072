"""Action distributions as pure functions on arrays: sample, log-probability, mode. Knows no networks.

Actions are squashed, a = tanh(u). Densities are taken at the pre-tanh value u, where the change of variables is exact:
log pi(a) = log p(u) - sum_i log(1 - tanh(u_i)^2)   (arXiv:1801.01290, appendix C).
"""

import math

import jax
import jax.numpy as jnp

from sacbrax.types import Array, Key

LOG_2 = math.log(2.0)
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def tanh_log_det(pre_tanh: Array) -> Array:
    """sum_i log(1 - tanh(u_i)^2), [..., A] -> [...]. The softplus form stays exact where tanh saturates."""
    return jnp.sum(2.0 * (LOG_2 - pre_tanh - jax.nn.softplus(-2.0 * pre_tanh)), axis=-1)


def normal_log_prob(value: Array, mean: Array, log_sigma: Array) -> Array:
    """log N(value; mean, diag(exp(log_sigma)^2)), [..., A] -> [...]."""
    z = (value - mean) * jnp.exp(-log_sigma)
    return -jnp.sum(0.5 * z * z + log_sigma + HALF_LOG_2PI, axis=-1)


def sample_squashed_normal(key: Key, mean: Array, log_sigma: Array) -> tuple[Array, Array, Array]:
    """Draw u ~ N(mean, sigma), reparameterized. [..., A] -> (tanh(u) [..., A], log pi(tanh(u)) [...], u [..., A])."""
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    pre_tanh = mean + jnp.exp(log_sigma) * noise
    # (u - mean) / sigma is the noise itself: no division, and the gradient through z vanishes as it should.
    log_prob = -jnp.sum(0.5 * noise * noise + log_sigma + HALF_LOG_2PI, axis=-1) - tanh_log_det(pre_tanh)
    return jnp.tanh(pre_tanh), log_prob, pre_tanh


def squashed_normal_log_prob(pre_tanh: Array, mean: Array, log_sigma: Array) -> Array:
    """log pi(tanh(u)) at a given pre-tanh value u. [..., A] -> [...]."""
    return normal_log_prob(pre_tanh, mean, log_sigma) - tanh_log_det(pre_tanh)
