"""Dropout in the critics: the mean and variance that masks give, whose masks are whose, and none outside an update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_sac import batch, make

from sacbrax.agents import dropout
from sacbrax.agents.critics import make_critics
from sacbrax.agents.soft_actor_critic import BASELINE, FRESH, LEARNT, TARGET
from sacbrax.config import Config, from_mapping
from sacbrax.xla import random

Tiny = Callable[..., Config]
RATE = 0.3


def critics(**network: Any) -> tuple[Any, Any]:
    """Two members of one layer with the same parameters."""
    found = make_critics(from_mapping({"network": {"hidden_sizes": [6], "critic_dropout": RATE} | network}))
    params = found.init(jax.random.key(0), batch().observation[:1], batch().action[:1])
    return found, jax.tree.map(lambda leaf: jnp.stack([leaf[0]] * 2), params)


def test_mean_and_variance_are_those_of_the_masks() -> None:
    """Of relu and one layer: each unit is there with 1 - rate, 1 / (1 - rate) times as large."""
    model, params = critics()
    observation, action = batch().observation, batch().action
    layers = jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64), params)["params"]
    x = np.concatenate([observation, action], axis=1)
    units = np.maximum(x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"], 0)
    shares = units * layers["Dense_1"]["kernel"][:, 0]
    keys = jax.random.split(jax.random.key(1), 4000)
    q = jax.vmap(lambda key: model(dropout.masked(params, key), observation, action))(keys)  # [4000, E, B]
    np.testing.assert_allclose(np.mean(q, axis=(0, 1)), shares.sum(axis=1) + layers["Dense_1"]["bias"], atol=0.03)
    np.testing.assert_allclose(
        np.var(q, axis=(0, 1)), RATE / (1 - RATE) * (shares**2).sum(axis=1), rtol=0.15, atol=1e-4
    )


def test_each_member_row_and_layer_has_masks_of_its_own() -> None:
    model, params = critics(hidden_sizes=[6, 6])
    observation = jnp.ones_like(batch().observation)
    q = np.asarray(model(dropout.masked(params, jax.random.key(1)), observation, jnp.ones_like(batch().action)))
    assert len(np.unique(q)) > q.size / 2, "equal members and rows would be equal without masks"
    again = model(dropout.masked(params, jax.random.key(1)), observation, jnp.ones_like(batch().action))
    np.testing.assert_array_equal(q, again)
    x, key = jnp.ones((64, 64)), jax.random.key(2)
    masks = [np.asarray(dropout.drop(x, RATE, key, layer)) for layer in (0, 1)]
    np.testing.assert_allclose(np.unique(masks[0]), [0.0, 1 / (1 - RATE)], rtol=1e-6)
    assert np.mean(masks[0] == masks[1]) == pytest.approx(RATE**2 + (1 - RATE) ** 2, abs=0.05)


@pytest.mark.parametrize("name", ["sac_v1", "sac_v2"])
def test_nothing_is_dropped_outside_an_update(tiny: Tiny, name: str) -> None:
    """The same parameters, hence the same values and actions; an update of them is another one."""
    plain, _, _, update_plain = make(tiny(f"algorithm.name={name}", "policy.kind=gmm"))
    options = (f"algorithm.name={name}", "policy.kind=gmm", f"network.critic_dropout={RATE}")
    agent, state, hyper, update = make(tiny(*options))
    observation, action = batch().observation, batch().action
    np.testing.assert_array_equal(
        agent.critics(state.params["critic"], observation, action),
        plain.critics(state.params["critic"], observation, action),
    )
    np.testing.assert_array_equal(
        agent.act_deterministic(state, observation), plain.act_deterministic(state, observation)
    )
    new, _ = update(state, batch(), hyper, jax.random.key(1))
    assert jax.tree.structure(new) == jax.tree.structure(state)
    other, _ = update_plain(state, batch(), hyper, jax.random.key(1))
    assert (
        np.abs(
            new.optimizer.mu["critic"]["params"]["Dense_0"]["kernel"]
            - other.optimizer.mu["critic"]["params"]["Dense_0"]["kernel"]
        ).max()
        > 1e-4
    )


def test_every_pass_of_an_update_drops_units_of_its_own(tiny: Tiny) -> None:
    """The target at s', the loss at s, and the actor's at (s, a~)."""
    agent, state, hyper, update = make(tiny(f"network.critic_dropout={RATE}"))
    rows, params = batch(), state.params
    _, sums = update(state, rows, hyper, jax.random.key(5))
    rest, masks = random.split(jax.random.key(5))
    next_key, action_key = random.split(rest)

    def q(critics: Any, which: int, observation: Any, action: Any) -> Any:
        return agent.critics(dropout.masked(critics, random.fold_in(masks, which)), observation, action)

    alpha = jnp.exp(params["log_temperature"])
    action, log_prob, _ = agent.policy.sample(params["actor"], rows.next_observation, next_key)
    following = q(state.target["critic"], TARGET, rows.next_observation, action).min(axis=0) - alpha * log_prob
    wanted = rows.reward + rows.discount * following
    learnt = q(params["critic"], LEARNT, rows.observation, rows.action)
    loss = 0.5 * jnp.sum(jnp.mean((learnt - wanted[None]) ** 2, axis=1))
    assert float(sums["critic_loss"]) == pytest.approx(float(loss), rel=1e-5)
    action, log_prob, _ = agent.policy.sample(params["actor"], rows.observation, action_key)
    climbed = q(params["critic"], FRESH, rows.observation, action).min(axis=0)
    assert float(sums["actor_loss"]) == pytest.approx(float(jnp.mean(alpha * log_prob - climbed)), rel=1e-4)
    assert len({TARGET, BASELINE, FRESH, LEARNT}) == 4
