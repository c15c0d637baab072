"""Squashed Gaussian: density, saturation, Jacobian, and that a sample carries its own density and gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sacbrax.agents import distributions


def squashed_log_prob(pre_tanh: Any, mean: Any, log_sigma: Any) -> Any:
    """log pi(tanh(u)), as policies compute it."""
    return distributions.normal_log_prob(pre_tanh, mean, log_sigma) - distributions.tanh_log_det(pre_tanh)


def sample_squashed(key: Any, mean: Any, log_sigma: Any) -> tuple[Any, Any, Any]:
    """An action, its log-probability and u."""
    pre_tanh, log_prob = distributions.sample_normal(key, mean, log_sigma)
    return jnp.tanh(pre_tanh), log_prob - distributions.tanh_log_det(pre_tanh), pre_tanh


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 1.0), (0.4, 0.3), (-1.5, 0.7)])
def test_the_density_of_actions_integrates_to_one(mean: float, sigma: float) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(400)  # over actions in (-1, 1)
    pre_tanh = jnp.asarray(np.arctanh(nodes)[:, None], jnp.float32)
    log_prob = squashed_log_prob(pre_tanh, jnp.full((400, 1), mean), jnp.full((400, 1), np.log(sigma)))
    assert abs(weights @ np.exp(np.asarray(log_prob, np.float64)) - 1) < 2e-4


def test_log_determinant_is_exact_where_tanh_saturates() -> None:
    pre_tanh = np.array([0.0, 1e-3, -0.1, 1.0, -5.0, 9.0, 20.0, -60.0])
    exact = -2 * np.log(np.cosh(pre_tanh))  # 1 - tanh^2 = 1 / cosh^2, in float64
    ours = distributions.tanh_log_det(jnp.asarray(pre_tanh[:, None], jnp.float32))
    np.testing.assert_allclose(ours, exact, rtol=3e-7, atol=3e-7)
    slope = jax.vmap(jax.grad(lambda u: distributions.tanh_log_det(u[None])))(jnp.asarray(pre_tanh, jnp.float32))
    np.testing.assert_allclose(slope, -2 * np.tanh(pre_tanh), rtol=1e-6, atol=1e-6)


def test_log_prob_equals_a_numeric_jacobian() -> None:
    pre_tanh, mean, sigma = np.array([0.3, -1.1, 0.8]), np.array([0.1, -0.5, 1.0]), np.array([0.5, 1.5, 0.2])
    h = 1e-6
    jacobian = np.stack([(np.tanh(pre_tanh + h * e) - np.tanh(pre_tanh - h * e)) / (2 * h) for e in np.eye(3)])
    expected = stats.norm.logpdf(pre_tanh, mean, sigma).sum() - np.linalg.slogdet(jacobian)[1]
    ours = squashed_log_prob(*(jnp.asarray(x, jnp.float32) for x in (pre_tanh, mean, np.log(sigma))))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.fixture(scope="module")
def drawn() -> Any:
    mean, log_sigma = jnp.array([0.5, -1.0]), jnp.log(jnp.array([0.3, 1.2]))
    shape = (20_000, 2)
    arguments = (jnp.broadcast_to(mean, shape), jnp.broadcast_to(log_sigma, shape))
    return arguments, sample_squashed(jax.random.key(0), *arguments)


def test_a_sample_carries_its_own_log_prob(drawn: Any) -> None:
    (mean, log_sigma), (action, log_prob, pre_tanh) = drawn
    np.testing.assert_allclose(action, np.tanh(pre_tanh), rtol=1e-6)
    again = squashed_log_prob(pre_tanh, mean, log_sigma)
    np.testing.assert_allclose(log_prob, again, rtol=1e-4, atol=1e-4)


def test_samples_have_the_moments(drawn: Any) -> None:
    pre_tanh = drawn[1][2]
    np.testing.assert_allclose(pre_tanh.mean(axis=0), [0.5, -1.0], atol=4 * 1.2 / np.sqrt(20_000))
    np.testing.assert_allclose(pre_tanh.std(axis=0), [0.3, 1.2], rtol=0.03)


def test_gradients_flow_through_the_sample() -> None:
    key = jax.random.key(1)

    def action(mean: Any, log_sigma: Any) -> Any:
        return jnp.sum(sample_squashed(key, mean, log_sigma)[0])

    mean, log_sigma = jnp.array([0.2, -0.3]), jnp.array([-0.5, 0.1])
    value, _, pre_tanh = sample_squashed(key, mean, log_sigma)
    by_mean, by_log_sigma = jax.grad(action, argnums=(0, 1))(mean, log_sigma)
    np.testing.assert_allclose(by_mean, 1 - value**2, rtol=1e-5)
    np.testing.assert_allclose(by_log_sigma, (1 - value**2) * (pre_tanh - mean), rtol=1e-4)
