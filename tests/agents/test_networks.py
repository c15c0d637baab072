"""Networks against NumPy, the ensemble's members, and the normalizer over a stream with faulty rows."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax.agents.critics import make_critics
from sacbrax.agents.networks import MLP, Value
from sacbrax.agents.normalizer import Normalizer
from sacbrax.agents.simba import SimBa
from sacbrax.config import Config, NetworkConfig

RNG = np.random.default_rng(0)


def disturbed(params: Any) -> Any:
    """Biases and norms start at 0 and 1: an error in them would not show."""
    return jax.tree.map(lambda p: p + 0.1 * RNG.normal(size=p.shape).astype(np.float32), params)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_mlp_equals_numpy(layer_norm: bool) -> None:
    mlp = MLP((8, 6), 3, "relu", layer_norm)
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    params = mlp.init(jax.random.key(0), x)
    params = disturbed(params)
    layers, y = params["params"], x.astype(np.float64)
    for i in range(3):
        y = y @ np.asarray(layers[f"Dense_{i}"]["kernel"]) + np.asarray(layers[f"Dense_{i}"]["bias"])
        if i < 2:
            if layer_norm:
                norm = layers[f"LayerNorm_{i}"]
                y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-6)
                y = y * np.asarray(norm["scale"]) + np.asarray(norm["bias"])
            y = np.maximum(y, 0)
    np.testing.assert_allclose(mlp.apply(params, x), y, rtol=1e-4, atol=1e-5)


def test_simba_equals_numpy() -> None:
    network = SimBa(width=6, blocks=2, output_size=3, activation=nn.relu, inputs=4)
    x = RNG.normal(size=(5, 7)).astype(np.float32)
    params = disturbed(network.init(jax.random.key(0), x))

    def dense(i: int, x: np.ndarray) -> np.ndarray:
        layer = params["params"][f"Dense_{i}"]
        return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])

    def norm(i: int, x: np.ndarray) -> np.ndarray:
        layer = params["params"][f"LayerNorm_{i}"]
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
        return x * np.asarray(layer["scale"]) + np.asarray(layer["bias"])

    y = dense(0, x[:, :4].astype(np.float64))
    for i in range(2):
        y = y + dense(2 * i + 2, np.maximum(dense(2 * i + 1, norm(i, y)), 0))
    np.testing.assert_allclose(network.apply(params, x), dense(5, norm(2, y)), rtol=1e-4, atol=1e-5)
    widths = [params["params"][f"Dense_{i}"]["kernel"].shape for i in range(6)]
    assert widths == [(4, 6), (6, 24), (24, 6), (6, 24), (24, 6), (6, 3)]
    assert len(params["params"]) == 6 + 3


@pytest.mark.parametrize("layer_norm", [False, True])
def test_critics_are_independent_networks(layer_norm: bool) -> None:
    config = NetworkConfig(hidden_sizes=(8, 8), critic_layer_norm=layer_norm)
    critics = make_critics(Config(network=config), 3)
    observation, action = jnp.asarray(RNG.normal(size=(5, 4))), jnp.asarray(RNG.normal(size=(5, 2)))
    params = critics.init(jax.random.key(0), observation, action)
    q = critics(params, observation, action)
    assert q.shape == (3, 5)
    member = MLP(config.hidden_sizes, 1, config.activation, layer_norm)
    for i in range(3):
        one = jax.tree.map(lambda p, i=i: p[i], params)
        alone = member.apply(one, jnp.concatenate([observation, action], axis=1))[:, 0]
        np.testing.assert_allclose(q[i], alone, rtol=1e-4, atol=1e-5)
    assert np.abs(q[0] - q[1]).min() > 1e-4, "members start apart"
    changed = jax.tree.map(lambda p: p.at[1].add(0.1), params)
    moved = critics(changed, observation, action)
    np.testing.assert_allclose(moved[jnp.array([0, 2])], q[jnp.array([0, 2])], rtol=1e-5)
    assert np.abs(moved[1] - q[1]).max() > 1e-3


def test_value_shape_and_size() -> None:
    value = Value(NetworkConfig(hidden_sizes=(8,)))
    params = value.init(jax.random.key(0), jnp.zeros((1, 4)))
    assert value(params, jnp.zeros((5, 4))).shape == (5,)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == (4 + 1) * 8 + (8 + 1)


def stream(normalizer: Normalizer, rate: float, blocks: list[tuple[Any, Any, Any]]) -> Normalizer:
    update = jax.jit(Normalizer.update)
    for observation, reward, valid in blocks:
        normalizer, bounded = update(normalizer, observation, reward, valid, jnp.float32(rate))
        assert bounded == 0
    return normalizer


def blocks(steps: int, faulty: bool) -> list[tuple[Any, Any, Any]]:
    """Rows far from the origin with a drift, so that the spread between steps counts too; what is faulty is NaN."""
    result = []
    for t in range(steps):
        observation = RNG.normal(loc=[100.0, -3.0 + 0.1 * t], scale=[0.5, 2.0], size=(6, 2)).astype(np.float32)
        reward = RNG.normal(loc=2.0 + 0.05 * t, size=6).astype(np.float32)
        valid = np.ones(6, bool)
        if faulty:
            valid[t % 2 :: 3] = False  # as many each step, so that steps and rows weigh the same
            observation[~valid], reward[~valid] = np.nan, np.inf
        result.append((observation, reward, valid))
    return result


@pytest.mark.parametrize("faulty", [False, True])
def test_the_normalizer_equals_numpy_over_a_stream(faulty: bool) -> None:
    data = blocks(30, faulty)
    normalizer = stream(Normalizer.create(2), 0.0, data)
    rows = np.concatenate([observation[valid] for observation, _, valid in data]).astype(np.float64)
    rewards = np.concatenate([reward[valid] for _, reward, valid in data])
    np.testing.assert_allclose(normalizer.mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.variance, rows.var(0), rtol=1e-3)
    np.testing.assert_allclose(normalizer.reward_mean, rewards.mean(), rtol=1e-5)
    assert int(normalizer.steps) == 30


def test_a_step_without_sound_rows_changes_nothing() -> None:
    data = blocks(5, False)
    nothing = (np.full((6, 2), np.nan, np.float32), np.full(6, np.nan, np.float32), np.zeros(6, bool))
    plain = stream(Normalizer.create(2), 0.1, data)
    interrupted = stream(Normalizer.create(2), 0.1, [nothing, *data[:2], nothing, *data[2:]])
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(interrupted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.01])
@pytest.mark.parametrize("absurd", [1e20, -3e38])
def test_one_absurd_number_does_not_poison_the_statistics(absurd: float, rate: float) -> None:
    data = blocks(300, False)
    update = jax.jit(Normalizer.update)
    plain = odd = Normalizer.create(2)
    for t, (observation, reward, valid) in enumerate(data):
        plain, none = update(plain, observation, reward, valid, jnp.float32(rate))
        if t == 100:
            observation, reward = observation.copy(), reward.copy()
            observation[2, 1], reward[4] = absurd, absurd
        odd, bounded = update(odd, observation, reward, valid, jnp.float32(rate))
        assert (int(none), int(bounded)) == (0, 2 if t == 100 else 0)
    np.testing.assert_allclose(odd.variance, plain.variance, rtol=0.05)
    np.testing.assert_allclose(odd.mean, plain.mean, atol=0.02 * np.sqrt(plain.variance).max())
    np.testing.assert_allclose(odd.reward_mean, plain.reward_mean, atol=0.1)
    np.testing.assert_allclose(odd.reward_variance, plain.reward_variance, rtol=0.2)


def test_the_first_step_is_bounded_only_so_that_squares_are_finite() -> None:
    observation = np.array([[1e3, 3e38], [1e3, -3e38]], np.float32)
    normalizer, bounded = Normalizer.create(2).update(observation, jnp.ones(2), jnp.ones(2, bool), jnp.float32(0.0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(normalizer))
    assert (float(normalizer.mean[0]), int(bounded)) == (1e3, 2)


def test_numbers_that_have_come_to_stay_are_followed() -> None:
    """As a body that learns to run is: here from 1 to 1000 after 100 steps of nothing."""
    update = jax.jit(Normalizer.update)
    normalizer = Normalizer.create(1)
    for t in range(400):
        observation = (RNG.normal(size=(8, 1)) * (1e-3 if t < 100 else 1e3)).astype(np.float32)
        normalizer, _ = update(normalizer, observation, observation[:, 0], np.ones(8, bool), jnp.float32(0.01))
    assert 0.7e3 < float(jnp.sqrt(normalizer.variance[0])) < 1e3
    assert float(jnp.sqrt(normalizer.reward_variance)) == pytest.approx(1e3, rel=0.3)


def test_the_reward_mean_forgets_at_its_rate() -> None:
    rate, data = 0.25, blocks(20, False)
    expected = 0.0
    for t, (_, reward, _) in enumerate(data):
        expected += max(rate, 1 / (t + 1)) * (float(reward.mean()) - expected)
    np.testing.assert_allclose(stream(Normalizer.create(2), rate, data).reward_mean, expected, rtol=1e-5)


def test_normalized_observations_are_centred_scaled_and_clipped() -> None:
    normalizer = Normalizer.create(2).replace(mean=jnp.array([1.0, -2.0]), variance=jnp.array([4.0, 0.25]))
    observation = jnp.array([[3.0, -2.5], [1e6, -1e6]])
    np.testing.assert_allclose(normalizer(observation), [[1.0, -1.0], [10.0, -10.0]], rtol=1e-5)
    np.testing.assert_allclose(Normalizer.create(2)(observation[:1]), observation[:1], rtol=1e-5)
    assert normalizer(observation[0]).shape == (2,)
    assert normalizer(jnp.zeros((3, 4, 2))).shape == (3, 4, 2)
