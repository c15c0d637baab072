"""Policies against numeric integration: densities, samples, modes, and both gradients of the actor."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax.agents import distributions, losses
from sacbrax.agents.policies import make_policy
from sacbrax.config import from_mapping
from sacbrax.config.named import POLICIES
from sacbrax.policy_file.numpy_policy import spread_latents

KINDS = sorted(POLICIES)
OBSERVATION = jnp.asarray([[0.3, -0.7, 1.1]])


def build(kind, action_size, squash=True, **options):
    """A policy whose sigmas stay moderate, so that a grid can integrate it, and parameters of some size."""
    options = {"kind": kind, "squash": squash, "log_sigma_min": -1.2, "log_sigma_max": 0.5} | options
    config = from_mapping({"policy": options, "network": {"hidden_sizes": [8], "activation": "tanh"}})
    policy = make_policy(config, action_size)
    return policy, policy.init(jax.random.key(3), OBSERVATION)


def grid(action_size, reach=9.0, points=241):
    """Midpoints of a grid over u in [-reach, reach]^A, [G, A], and the volume of a cell."""
    axis = np.linspace(-reach, reach, points)
    mesh = np.stack(np.meshgrid(*[axis] * action_size, indexing="ij"), axis=-1).reshape(-1, action_size)
    return jnp.asarray(mesh, jnp.float32), (axis[1] - axis[0]) ** action_size


def density_on_grid(policy, params, u, squash):
    """p(u) on the grid, from the density of the action times |da/du|, written out."""
    log_prob = policy.log_prob(params, jnp.repeat(OBSERVATION, len(u), axis=0), u)
    jacobian = jnp.prod(1.0 - jnp.tanh(u) ** 2, axis=1) if squash else 1.0
    return jnp.exp(log_prob) * jacobian


@pytest.mark.parametrize("squash", [True, False])
@pytest.mark.parametrize("action_size", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_density_integrates_to_one_and_samples_follow_it(kind, action_size, squash):
    policy, params = build(kind, action_size, squash)
    u, cell = grid(action_size)
    density = density_on_grid(policy, params, u, squash)
    assert float(jnp.sum(density)) * cell == pytest.approx(1.0, abs=2e-3)

    n = 40_000
    action, log_prob, pre_tanh = policy.sample(params, jnp.repeat(OBSERVATION, n, axis=0), jax.random.key(0))
    np.testing.assert_allclose(action, np.tanh(pre_tanh) if squash else pre_tanh, atol=1e-6)
    again = policy.log_prob(params, jnp.repeat(OBSERVATION, n, axis=0), pre_tanh)
    np.testing.assert_allclose(log_prob, again, atol=2e-3)
    for moment in (1, 2):
        expected = jnp.sum(density[:, None] * u**moment, axis=0) * cell
        error = jnp.std(pre_tanh**moment, axis=0) / n**0.5
        assert np.all(np.abs(jnp.mean(pre_tanh**moment, axis=0) - expected) < 5 * error + 1e-3)


def test_log_prob_is_exact_where_tanh_saturates():
    """log(1 - tanh^2 + 1e-6) would give -13.8 and a zero gradient here; the density's logarithm goes on falling."""
    u = jnp.asarray([[12.0]])
    expected = np.log(4.0) - 24.0 - 2 * np.log1p(np.exp(-24.0))
    assert float(distributions.tanh_log_det(u)[0]) == pytest.approx(expected, rel=1e-6)
    assert float(jax.grad(lambda x: distributions.tanh_log_det(x)[0])(u)[0, 0]) == pytest.approx(-2.0, rel=1e-5)


def test_latent_flow_inverts_and_its_log_det_is_the_jacobians():
    policy, params = build("latent", 3, coupling_layers=3, log_sigma_max=2.0)
    latent = jax.random.normal(jax.random.key(1), (1, 3))
    features = policy._observe(params, OBSERVATION)
    u, log_scales = policy._forward(params, features, latent)
    back, _ = policy._inverse(params, features, u)
    np.testing.assert_allclose(back, latent, atol=1e-5)
    jacobian = jax.jacobian(lambda h: policy._forward(params, features, h[None])[0][0])(latent[0])
    assert np.linalg.slogdet(jacobian)[1] == pytest.approx(float(jnp.sum(jnp.stack(log_scales))), abs=1e-5)


@pytest.mark.parametrize("gradient", ["reparameterized", "likelihood_ratio"])
@pytest.mark.parametrize(("kind", "action_size"), [*itertools.product(KINDS, [1, 2])])
def test_both_gradients_are_those_of_the_integral(kind, action_size, gradient):
    """E_pi[log pi - Q] is integrated on a grid and differentiated; either estimator must agree on average."""
    policy, params = build(kind, action_size)
    u, cell = grid(action_size, points=181)
    n = 200_000
    observations = jnp.repeat(OBSERVATION, n, axis=0)

    def q_function(action):  # curved, lopsided, with the dimensions entangled
        return 2.0 * jnp.sin(2.0 * action[:, 0]) - (action[:, -1] - 0.4) ** 2 + action[:, 0] * action[:, -1]

    def exact(params):
        log_prob = policy.log_prob(params, jnp.repeat(OBSERVATION, len(u), axis=0), u)
        density = jnp.exp(log_prob + distributions.tanh_log_det(u))
        return jnp.sum(density * (log_prob - q_function(jnp.tanh(u)))) * cell

    def estimate(params):
        action, log_prob, pre_tanh = policy.sample(params, observations, jax.random.key(5))
        none = jnp.zeros(n)
        if gradient == "reparameterized":
            return losses.actor_loss(q_function(action), log_prob, none, jnp.ones(()))
        action, pre_tanh = losses.stop(action), losses.stop(pre_tanh)
        log_prob = policy.log_prob(params, observations, pre_tanh)
        return losses.likelihood_ratio_loss(q_function(action), log_prob, none, jnp.ones(()), none + 0.3)

    wanted, got = (
        jnp.concatenate([x.ravel() for x in jax.tree.leaves(jax.jit(jax.grad(f))(params))]) for f in (exact, estimate)
    )
    scale = float(jnp.linalg.norm(wanted))
    assert scale > 0.1
    assert float(jnp.linalg.norm(got - wanted)) < 0.04 * scale


@pytest.mark.parametrize("gradient", ["reparameterized", "likelihood_ratio"])
def test_mixture_gradient_moves_weights_means_and_scales(gradient):
    policy, params = build("gmm", 2)
    observation = jax.random.normal(jax.random.key(0), (64, 3))

    def loss(params):
        action, log_prob, pre_tanh = policy.sample(params, observation, jax.random.key(1))
        if gradient == "reparameterized":
            return jnp.mean(log_prob - jnp.sum(action, axis=1))
        log_prob = policy.log_prob(params, observation, losses.stop(pre_tanh))
        return jnp.mean(log_prob * losses.stop(log_prob - jnp.sum(action, axis=1)))

    bias = jax.grad(loss)(params)["params"]["Dense_1"]["bias"]  # logits [2] | means [2, 2] | log sigmas [2, 2]
    for part in (bias[:2], bias[2:6], bias[6:]):
        assert np.all(np.abs(part) > 1e-6)


def test_implicit_gradient_keeps_its_digits_far_in_the_tails():
    """One Gaussian written as a mixture: du/dmean = 1 and du/dlog_sigma = u - mean, however far out u lies."""
    u = jnp.linspace(-7.0, 7.0, 15)[:, None]
    zeros = jnp.zeros((15, 2))

    def follow(mean, log_sigma):
        return jnp.sum(distributions._follow_quantile(u, zeros, mean, log_sigma))

    d_mean, d_log_sigma = jax.grad(follow, argnums=(0, 1))(jnp.zeros((15, 2, 1)), jnp.zeros((15, 2, 1)))
    np.testing.assert_allclose(jnp.sum(d_mean, axis=1), np.ones((15, 1)), rtol=1e-4)
    np.testing.assert_allclose(jnp.sum(d_log_sigma, axis=1), u, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("squash", [True, False])
def test_deterministic_mixture_is_the_component_of_highest_q(squash):
    policy, params = build("gmm", 2, squash, components=4)
    observation = jax.random.normal(jax.random.key(0), (16, 3))
    _, mean, _ = policy._parameters(params, observation)
    means = np.asarray(jnp.tanh(mean) if squash else mean)  # [B, K, A]

    def q_function(observation, action):
        return observation[:, 0] * action[:, 0] - action[:, 1]

    q = np.asarray(observation)[:, :1] * means[:, :, 0] - means[:, :, 1]
    expected = means[np.arange(16), q.argmax(axis=1)]
    assert len(set(q.argmax(axis=1))) > 1  # the best component depends on the state
    np.testing.assert_allclose(policy.mode(params, observation, q_function), expected, atol=1e-6)


def test_deterministic_latent_action_is_the_best_of_distinct_candidates():
    policy, params = build("latent", 2, candidates=32)
    candidates = np.asarray(jnp.tanh(policy.candidates(params, OBSERVATION)))[0]
    assert len(np.unique(candidates.round(5), axis=0)) == 32
    target = jnp.asarray([[0.2, -0.3]])
    best = policy.mode(params, OBSERVATION, lambda _, action: -jnp.sum((action - target) ** 2, axis=1))
    distance = np.sum((candidates - np.asarray(target)) ** 2, axis=1)
    np.testing.assert_allclose(best[0], candidates[distance.argmin()], atol=1e-6)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (64, 1), (256, 2), (100, 17)])
def test_spread_latents_are_distinct_and_normal(count, size):
    points = spread_latents(count, size)
    assert points.shape == (count, size)
    assert np.all(points[0] == 0)
    assert len(np.unique(points, axis=0)) == count
    if count == 256:
        np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.05)
        np.testing.assert_allclose(points.std(axis=0), 1, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_regularization_and_diagnostics_are_finite_numbers_with_a_gradient(kind):
    policy, params = build(kind, 2)
    observation = jax.random.normal(jax.random.key(0), (16, 3))
    gradient = jax.grad(policy.regularization)(params, observation)
    assert any(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(gradient))
    for name, value in policy.diagnostics(params, observation).items():
        assert value.shape == (), name
        assert np.isfinite(value), name


@pytest.mark.parametrize("network", [{"actor_layer_norm": True}, {"actor_block": "simba"}])
@pytest.mark.parametrize("kind", ["gaussian", "gmm"])
def test_sigma_starts_as_asked_for_in_every_state(kind, network):
    observation = 5.0 * jax.random.normal(jax.random.key(0), (20, 4))

    def parameters(**options):
        network_options = {"network": {"hidden_sizes": [8, 8]} | network}
        policy = make_policy(from_mapping({"policy": {"kind": kind} | options} | network_options), 3)
        return policy._parameters(policy.init(jax.random.key(1), observation[:1]), observation)

    *_, means, log_sigma = parameters(initial_sigma=0.3)
    np.testing.assert_allclose(np.exp(log_sigma), 0.3, rtol=1e-6)
    np.testing.assert_array_equal(means, parameters()[-2])
