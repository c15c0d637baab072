"""Distributions of the pre-tanh action u as pure functions on arrays: sample, log-density, and the tanh's share of it.

Knows no networks. Actions are squashed, a = tanh(u); densities are taken at u, where the change of variables is exact:
log pi(a) = log p(u) - sum_i log(1 - tanh(u_i)^2)   (arXiv:1801.01290, appendix C).
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from sacbrax.core.types import Array, Key
from sacbrax.xla import random

LOG_2 = math.log(2.0)
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def tanh_log_det(pre_tanh: Array) -> Array:
    """sum_i log(1 - tanh(u_i)^2), [..., A] -> [...]. The softplus form stays exact where tanh saturates."""
    return jnp.sum(2.0 * (LOG_2 - pre_tanh - jax.nn.softplus(-2.0 * pre_tanh)), axis=-1)


def normal_log_prob(value: Array, mean: Array, log_sigma: Array) -> Array:
    """log N(value; mean, diag(exp(log_sigma)^2)), [..., A] -> [...]."""
    z = (value - mean) * jnp.exp(-log_sigma)
    return -jnp.sum(0.5 * z * z + log_sigma + HALF_LOG_2PI, axis=-1)


def standard_normal_log_prob(value: Array) -> Array:
    """log N(value; 0, I), [..., A] -> [...]."""
    return -jnp.sum(0.5 * value * value + HALF_LOG_2PI, axis=-1)


def sample_normal(key: Key, mean: Array, log_sigma: Array) -> tuple[Array, Array]:
    """Draw u ~ N(mean, sigma), reparameterized. [..., A] -> (u [..., A], log p(u) [...])."""
    noise = random.normal(key, mean.shape, mean.dtype)
    # (u - mean) / sigma is the noise itself: no division, and the gradient through z vanishes as it should.
    log_prob = -jnp.sum(0.5 * noise * noise + log_sigma + HALF_LOG_2PI, axis=-1)
    return mean + jnp.exp(log_sigma) * noise, log_prob


def mixture_log_prob(value: Array, logits: Array, mean: Array, log_sigma: Array) -> Array:
    """log sum_k softmax(logits)_k N(value; mean_k, sigma_k). value [B, A], logits [B, K], others [B, K, A] -> [B]."""
    components = normal_log_prob(value[:, None, :], mean, log_sigma)
    return jax.nn.logsumexp(jax.nn.log_softmax(logits) + components, axis=1)


def sample_mixture(key: Key, logits: Array, mean: Array, log_sigma: Array) -> Array:
    """Draw u from the mixture, reparameterized. logits [B, K], others [B, K, A] -> [B, A].

    The choice of a component has no derivative, so the gradient is implicit (arXiv:1805.08498): as the parameters
    change, u moves so that its quantile stays. It reaches the weights, means and scales of all components.
    """
    component_key, noise_key = random.split(key)
    component = jax.random.categorical(component_key, logits)[:, None, None]
    chosen_mean, chosen_log_sigma = (jnp.take_along_axis(x, component, axis=1)[:, 0] for x in (mean, log_sigma))
    noise = random.normal(noise_key, chosen_mean.shape, chosen_mean.dtype)
    value = jax.lax.stop_gradient(chosen_mean + jnp.exp(chosen_log_sigma) * noise)
    return _follow_quantile(value, logits, mean, log_sigma)


@jax.custom_vjp
def _follow_quantile(value: Array, logits: Array, mean: Array, log_sigma: Array) -> Array:
    """`value` itself, with the gradient of a sample of the mixture with respect to the parameters."""
    return value


def _follow_quantile_forward(value: Array, *parameters: Array) -> tuple[Array, tuple[Array, tuple[Array, ...]]]:
    return value, (value, parameters)


def _follow_quantile_backward(residual: tuple[Array, tuple[Array, ...]], cotangent: Array) -> tuple[Array, ...]:
    """Of F(u; parameters) = const follows du = -(dF/du)^-1 dF; here its transpose."""
    value, parameters = residual
    transposed = jnp.swapaxes(_quantile_jacobian(value, *parameters), 1, 2)
    pull = jax.lax.linalg.triangular_solve(transposed, -cotangent[..., None], left_side=True, lower=False)[..., 0]
    _, vjp = jax.vjp(lambda *p: _quantiles(value, *p)[0], *parameters)
    return (jnp.zeros_like(value), *vjp(pull))


_follow_quantile.defvjp(_follow_quantile_forward, _follow_quantile_backward)


def _quantiles(value: Array, logits: Array, mean: Array, log_sigma: Array) -> tuple[Array, Array, Array]:
    """Conditional quantiles F_i = P(U_i <= u_i | u_1 .. u_i-1) of the mixture, less 1 above the median, [B, A].

    Also the weight of each component given the earlier dimensions, and its own quantile, both [B, K, A].
    Measured from the nearer end a quantile keeps its digits in float32, however far out.
    """
    z = (value[:, None, :] - mean) * jnp.exp(-log_sigma)
    earlier = jnp.cumsum(-0.5 * z * z - log_sigma, axis=-1)
    earlier = jnp.pad(earlier[..., :-1], ((0, 0), (0, 0), (1, 0)))
    weight = jax.nn.softmax(logits[..., None] + earlier, axis=1)
    below = jnp.sum(jax.lax.stop_gradient(weight * ndtr(z)), axis=1, keepdims=True)
    sign = jnp.where(below > 0.5, -1.0, 1.0)
    quantile = sign * ndtr(sign * z)
    return jnp.sum(weight * quantile, axis=1), weight, quantile


def _quantile_jacobian(value: Array, logits: Array, mean: Array, log_sigma: Array) -> Array:
    """dF_i/du_j, lower triangular, [B, A, A]: the conditional density on the diagonal."""
    total, weight, quantile = _quantiles(value, logits, mean, log_sigma)
    inverse_sigma = jnp.exp(-log_sigma)
    z = (value[:, None, :] - mean) * inverse_sigma
    density = jnp.sum(weight * jnp.exp(-0.5 * z * z - HALF_LOG_2PI) * inverse_sigma, axis=1)
    reweighted = jnp.einsum("bki,bkj->bij", weight * (quantile - total[:, None, :]), -z * inverse_sigma)
    return jnp.tril(reweighted, -1) + density[:, :, None] * jnp.eye(value.shape[-1], dtype=value.dtype)[None]
