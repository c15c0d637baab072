"""Weights of directions alone: their lengths are 1 after every update and mean nothing, and no gradient moves them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_sac import A, B, O, batch, make

from sacbrax.agents import weight_norm
from sacbrax.config import Config

Tiny = Callable[..., Config]
EVERYWHERE = ("network.actor_weight_norm=true", "network.critic_weight_norm=true", "network.hidden_sizes=[8,8]")


def kernels(params: Any) -> dict[str, np.ndarray]:
    """By path, those of the layers that have a scale."""
    found = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        *inner, last = (entry.key for entry in path)
        if last == "scale" and inner[-1].startswith("Dense"):
            layer = params
            for name in inner:
                layer = layer[name]
            found["/".join(inner)] = np.asarray(layer["kernel"])
    return found


@pytest.mark.parametrize("block", ["plain", "simba"])
@pytest.mark.parametrize("name", ["sac_v1", "sac_v2"])
def test_lengths_are_1_after_any_update(tiny: Tiny, name: str, block: str) -> None:
    options = (f"algorithm.name={name}", "algorithm.learning_rate=0.3", f"network.critic_block={block}")
    _, state, hyper, update = make(tiny(*EVERYWHERE, *options))
    layers = {"actor": 2, "critic": 2 if block == "plain" else 5}
    layers |= {"value": layers["critic"]} if name == "sac_v1" else {}
    before = state
    for step in range(3):
        found = kernels(state.params)
        assert {group: sum(path.startswith(group) for path in found) for group in layers} == layers
        assert len(found) == sum(layers.values())
        for kernel in found.values():
            np.testing.assert_allclose(np.linalg.norm(kernel, axis=-2), 1.0, rtol=1e-5)
        state, _ = update(state, batch(), hyper, jax.random.key(step))
    for old, new in zip(kernels(before.params).values(), kernels(state.params).values(), strict=True):
        assert np.abs(new - old).max() > 0.1, "directions do move"


def test_a_skipped_update_leaves_every_bit(tiny: Tiny) -> None:
    _, state, hyper, update = make(tiny(*EVERYWHERE))
    state, _ = update(state, batch(), hyper, jax.random.key(0))
    new, _ = update(state, batch(reward=jnp.full(B, jnp.nan)), hyper, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, new.params, state.params)


def test_the_length_of_the_weights_means_nothing(tiny: Tiny) -> None:
    agent, state, _, _ = make(tiny(*EVERYWHERE))
    rng = np.random.default_rng(0)

    def longer(params: Any) -> Any:
        if not isinstance(params, dict):
            return params
        if {"kernel", "scale"} <= set(params):
            lengths = rng.uniform(0.1, 10.0, params["scale"].shape).astype(np.float32)
            return params | {"kernel": params["kernel"] * lengths[..., None, :]}
        return {name: longer(part) for name, part in params.items()}

    changed = state.replace(params=longer(state.params))
    observation, action = batch().observation, batch().action
    actions = [agent.act_deterministic(s, observation) for s in (state, changed)]
    np.testing.assert_allclose(actions[1], actions[0], rtol=1e-4, atol=1e-6)
    q = [agent.critics(s.params["critic"], observation, action) for s in (state, changed)]
    np.testing.assert_allclose(q[1], q[0], rtol=1e-4, atol=1e-5)
    back = weight_norm.project(changed.params, jnp.ones((), bool))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), back, state.params)


def test_gradients_are_across_the_weights_and_grow_as_they_shrink() -> None:
    layer, rng = weight_norm.Dense(5), np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(7, O + A)), jnp.float32)
    params = layer.init(jax.random.key(0), x)["params"]

    def loss(kernel: Any) -> Any:
        return jnp.sum(jnp.sin(layer.apply({"params": params | {"kernel": kernel}}, x)))

    gradient = jax.grad(loss)(params["kernel"])
    np.testing.assert_allclose(np.sum(gradient * params["kernel"], axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(jax.grad(loss)(0.5 * params["kernel"]), 2.0 * gradient, rtol=1e-4, atol=1e-5)
