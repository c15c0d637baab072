"""What shards compute together: sums, means, statistics and gradients are those of the whole."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.agents.normalizer import Normalizer
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import Config
from sacbrax.core.types import Transition
from sacbrax.parallel.shards import DEVICE, LANE, Shards

Tiny = Callable[..., Config]
TWO = Shards(count=2)


def together(function: Callable, *parts: Any) -> Any:
    """`function` of both shards' parts along the leading axis of each."""
    return jax.jit(jax.vmap(function, axis_name=LANE))(*parts)


def test_total_mean_gather_and_index() -> None:
    tree = {"a": jnp.array([[1.0, 2.0], [3.0, 6.0]]), "b": jnp.array([10.0, 30.0]), "c": jnp.array([1, 2])}
    total = together(TWO.total, tree)
    np.testing.assert_array_equal(total["a"], [[4, 8]] * 2)
    np.testing.assert_array_equal(total["b"], [40, 40])
    np.testing.assert_array_equal(total["c"], [3, 3])
    assert total["c"].dtype == jnp.int32
    mean = together(TWO.mean, {"a": tree["a"], "b": tree["b"]})
    np.testing.assert_array_equal(mean["a"], [[2, 4]] * 2)
    np.testing.assert_array_equal(mean["b"], [20, 20])
    np.testing.assert_array_equal(together(TWO.gather, tree["a"]), [[1, 2, 3, 6]] * 2)
    np.testing.assert_array_equal(together(lambda x: TWO.index() + 0 * x, jnp.zeros(2, int)), [0, 1])


def test_sizes_are_shared_among_shards_not_devices() -> None:
    four = Shards(count=4, devices=2)
    assert (four.share(12), four.lanes, four.axes) == (3, 2, (DEVICE, LANE))
    assert (TWO.share(12), TWO.lanes, TWO.axes) == (6, 2, (LANE,))
    assert (Shards().share(12), Shards().axes) == (12, ())


def test_one_shard_is_the_identity_and_two_draw_apart() -> None:
    key = jax.random.key(3)
    assert (jax.random.key_data(Shards().own(key)) == jax.random.key_data(key)).all()
    draws = together(lambda _: jax.random.uniform(TWO.own(key)), jnp.zeros(2))
    assert len({*np.asarray(draws).tolist(), float(jax.random.uniform(key))}) == 3


def test_the_gradient_of_two_halves_is_the_gradient_of_the_whole(tiny: Tiny) -> None:
    """In SAC-v1 the critics' involves no random number. Adam forgives a factor, its moments do not."""
    config = tiny("algorithm.name=sac_v1")
    rng, size = np.random.default_rng(0), 8
    batch = Transition(
        observation=jnp.asarray(rng.normal(size=(size, 3)), jnp.float32),
        action=jnp.asarray(rng.uniform(-1, 1, (size, 2)), jnp.float32),
        reward=jnp.asarray(rng.normal(size=size), jnp.float32),
        discount=jnp.full(size, 0.9),
        next_observation=jnp.asarray(rng.normal(size=(size, 3)), jnp.float32),
    )
    agent, shard, hyper = make_agent(config, 3, 2), make_agent(config, 3, 2, TWO), make_hyper(config, 2)
    state, key = agent.init(jax.random.key(0), hyper), jax.random.key(1)
    whole, metrics = jax.jit(agent.update)(state, batch, hyper, key)
    halves = jax.tree.map(lambda x: x.reshape(2, size // 2, *x.shape[1:]), batch)
    joint, joint_metrics = together(lambda half: shard.update(state, half, hyper, key), halves)
    for one, two in zip(*(jax.tree.leaves(x.optimizer.mu["critic"]) for x in (whole, joint)), strict=True):
        np.testing.assert_allclose(two[0], one, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(two[0], two[1])
        assert np.abs(one).max() > 1e-3
    np.testing.assert_allclose(joint_metrics["critic_loss"], metrics["critic_loss"], rtol=1e-5)


def test_the_statistics_of_two_halves_are_those_of_the_whole() -> None:
    """The shards have different numbers of sound environments."""
    rng = np.random.default_rng(0)
    observation, reward = jnp.asarray(rng.normal(3.0, 2.0, (3, 8, 2))), jnp.asarray(rng.normal(size=(3, 8)))
    valid = jnp.asarray(rng.random((3, 8)) < 0.6).at[0, :4].set(False)
    whole, rate = Normalizer.create(2), jnp.float32(0.5)
    halves = jax.tree.map(lambda x: jnp.stack([x, x]), whole)
    for i in range(3):
        whole, bounded = whole.update(observation[i], reward[i], valid[i], rate)
        parts = (x[i].reshape(2, 4, *x.shape[2:]) for x in (observation, reward, valid))
        halves, of_halves = together(lambda own, *part: own.update(*part, rate, TWO.total), halves, *parts)
        assert of_halves.tolist() == [bounded, bounded]
    for one, two in zip(jax.tree.leaves(whole), jax.tree.leaves(halves), strict=True):
        np.testing.assert_allclose(two[0], one, rtol=1e-5)
        np.testing.assert_array_equal(two[0], two[1])
