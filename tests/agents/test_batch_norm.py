"""Batch normalization against its equations, written apart: passes of learning and evaluation, updates of critics
without target networks and of actors, and the statistics: what they become, in shards, in seeds, and when skipped."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_sac import A, B, O, batch, make

from sacbrax.agents import batch_norm
from sacbrax.agents.networks import MLP
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import Config
from sacbrax.parallel.shards import LANE, Shards
from sacbrax.xla import random

Tiny = Callable[..., Config]
RNG = np.random.default_rng(0)
KINDS = ("batch", "renorm")


def norm(layers: Any, kept: Any, i: int, x: Any, kind: str, learning: bool, moved: dict[str, Any]) -> Any:
    """A norm, whose gradient is JAX's own; notes in `moved` what its statistics are to be."""
    scale, bias = (layers[f"BatchNorm_{i}"][name] for name in ("scale", "bias"))
    mean, variance = (kept[f"BatchNorm_{i}"][name] for name in ("mean", "variance"))
    if not learning:
        return (x - mean[None]) / np.sqrt(variance + 1e-3)[None] * scale[None] + bias[None]
    own, spread = x.mean(0), ((x - x.mean(0)[None]) ** 2).mean(0)
    moved[f"BatchNorm_{i}"] = {"mean": 0.99 * mean + 0.01 * own, "variance": 0.99 * variance + 0.01 * spread}
    y = (x - own[None]) / (spread + 1e-3)[None] ** 0.5
    if kind == "renorm":
        constant = jax.lax.stop_gradient
        r = jnp.sqrt((constant(spread) + 1e-3) / (variance + 1e-3))
        d = (constant(own) - mean) / jnp.sqrt(variance + 1e-3)
        y = y * jnp.clip(r, 1 / 3, 3)[None] + jnp.clip(d, -5, 5)[None]
    return y * scale[None] + bias[None]


def network(params: Any, kept: Any, x: Any, kind: str, learning: bool) -> tuple[Any, dict[str, Any]]:
    """A norm of the input, and one after each activation; the output, and the statistics after it."""
    moved: dict[str, Any] = {}
    x = norm(params, kept, 0, x, kind, learning, moved)
    last = sum(name.startswith("Dense") for name in params) - 1
    for i in range(last):
        x = jnp.maximum(x @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"][None], 0)
        x = norm(params, kept, i + 1, x, kind, learning, moved)
    return x @ params[f"Dense_{last}"]["kernel"] + params[f"Dense_{last}"]["bias"][None], moved


def disturbed(tree: Any) -> Any:
    """No number at its first value; variances stay positive."""
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(RNG.uniform(0.1, 0.4, leaf.shape), leaf.dtype), tree)


@pytest.mark.parametrize("kind", KINDS)
def test_passes_equal_the_equations(kind: str) -> None:
    mlp = MLP((8, 6), 3, "relu", batch_norm=kind)
    x = RNG.normal(size=(5, 4), loc=2.0, scale=3.0).astype(np.float32)
    params = disturbed(mlp.init(jax.random.key(0), x))
    assert {name: leaf.shape for name, leaf in params["batch_stats"]["BatchNorm_1"].items()} == {
        "mean": (8,),
        "variance": (8,),
    }
    for learning in (False, True):
        seen = batch_norm.learning(params) if learning else params
        wanted, _ = network(params["params"], params["batch_stats"], x, kind, learning)
        np.testing.assert_allclose(mlp.apply(seen, x), wanted, rtol=1e-4, atol=1e-4)
    far = batch_norm.learning(params)
    assert np.abs(mlp.apply(far, x) - mlp.apply(params, x)).max() > 0.1
    rows = jnp.asarray(RNG.normal(size=(2, 3, 4)), jnp.float32)
    np.testing.assert_allclose(mlp.apply(params, rows)[1], mlp.apply(params, rows[1]), rtol=1e-5)


def test_renormalized_by_settled_statistics_a_pass_of_learning_is_one_of_evaluation() -> None:
    mlp, x = MLP((8,), 2, "relu", batch_norm="renorm"), jnp.asarray(RNG.normal(size=(32, 4)), jnp.float32)
    params = mlp.init(jax.random.key(0), x)
    np.testing.assert_allclose(mlp.apply(batch_norm.learning(params), x), mlp.apply(params, x), rtol=1e-3, atol=1e-4)


def options(kind: str, *more: str) -> tuple[str, ...]:
    return (
        f"network.critic_batch_norm={kind}",
        f"network.actor_batch_norm={kind}",
        "network.hidden_sizes=[8,6]",
        *more,
    )


@pytest.mark.parametrize(("kind", "policy"), [("batch", "gaussian"), ("renorm", "gmm"), ("batch", "latent")])
def test_an_update_of_the_critics_equals_the_equations(tiny: Tiny, kind: str, policy: str) -> None:
    """(s, a) and (s', a') in one batch; the gradient, the loss and the statistics."""
    agent, state, hyper, update = make(tiny(*options(kind, f"policy.kind={policy}")))
    assert state.target == {}
    state = state.replace(params=disturbed(state.params))
    key, rows = jax.random.key(5), batch()
    new, sums = update(state, rows, hyper, key)
    next_key, _ = random.split(key)
    action, log_prob, _ = agent.policy.sample(state.params["actor"], rows.next_observation, next_key)
    entropy = -np.exp(state.params["log_temperature"]) * log_prob
    pairs = (rows.observation, rows.action), (rows.next_observation, action)
    x = jnp.concatenate([jnp.concatenate(pair, axis=1) for pair in pairs])
    critics, kept = state.params["critic"]["params"], state.params["critic"]["batch_stats"]

    def member(i: int, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[i], tree)

    both = [network(member(i, critics), member(i, kept), x, kind, True)[0][:, 0] for i in range(2)]
    y = rows.reward + rows.discount * (jnp.minimum(both[0][B:], both[1][B:]) + entropy)
    wanted = sum(float(0.5 * ((q[:B] - y) ** 2).mean()) for q in both)
    assert float(sums["critic_loss"]) == pytest.approx(wanted, rel=1e-4)
    for i in range(2):

        def loss(params: Any, i: int = i) -> Any:
            q, moved = network(params, member(i, kept), x, kind, True)
            return 0.5 * jnp.mean((q[:B, 0] - y) ** 2), moved

        gradient, moved = jax.grad(loss, has_aux=True)(member(i, critics))
        got = member(i, new.optimizer.mu["critic"]["params"])
        jax.tree.map(lambda g, w: np.testing.assert_allclose(10 * g, w, rtol=2e-3, atol=2e-4), got, gradient)
        jax.tree.map(
            lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5),
            member(i, new.params["critic"]["batch_stats"]),
            moved,
        )


@pytest.mark.parametrize(("kind", "gradient"), [("renorm", "reparameterized"), ("batch", "likelihood_ratio")])
def test_the_actor_learns_by_its_minibatch_and_the_critics_evaluation(tiny: Tiny, kind: str, gradient: str) -> None:
    agent, state, hyper, update = make(tiny(*options(kind, f"algorithm.policy_gradient={gradient}")))
    state = state.replace(params=disturbed(state.params))
    key, rows = jax.random.key(5), batch()
    new, sums = update(state, rows, hyper, key)
    actor = state.params["actor"]
    _, moved = network(actor["params"], actor["batch_stats"], rows.observation, kind, True)
    jax.tree.map(
        lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5), new.params["actor"]["batch_stats"], moved
    )
    action_key = random.split(key)[1]
    if gradient == "likelihood_ratio":
        action_key = random.split(action_key)[0]
    action, log_prob, _ = agent.policy.sample(batch_norm.learning(actor), rows.observation, action_key)
    assert float(sums["entropy"]) == pytest.approx(-float(log_prob.mean()), rel=1e-4)
    if gradient == "reparameterized":
        q = jnp.min(agent.critics(state.params["critic"], rows.observation, action), axis=0)
        wanted = jnp.mean(jnp.exp(state.params["log_temperature"]) * log_prob - q)
        assert float(sums["actor_loss"]) == pytest.approx(float(wanted), rel=1e-4)


def statistics(state: Any) -> dict[str, Any]:
    return {group: state.params[group]["batch_stats"] for group in ("actor", "critic")}


def test_a_skipped_update_leaves_every_bit(tiny: Tiny) -> None:
    _, state, hyper, update = make(tiny(*options("batch")))
    state, _ = update(state, batch(), hyper, jax.random.key(0))
    new, _ = update(state, batch(reward=jnp.full(B, jnp.nan)), hyper, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, new.params, state.params)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_that_are_not_finite_are_not_kept(tiny: Tiny, kind: str) -> None:
    """The batch's variance overflows where its normalized rows and all gradients are sound."""
    _, state, hyper, update = make(tiny(*options(kind)))
    state, _ = update(state, batch(), hyper, jax.random.key(0))
    observation = batch().observation.at[0, 0].set(1e20)
    new, _ = update(state, batch(observation=observation), hyper, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, statistics(new), statistics(state))
    assert int(new.bad_updates) == 1
    new, _ = update(new, batch(), hyper, jax.random.key(2))
    assert int(new.bad_updates) == 0


def test_over_shards_the_statistics_are_the_mean_of_theirs(tiny: Tiny) -> None:
    config = tiny(*options("batch"))
    agent, shard, hyper = make_agent(config, O, A), make_agent(config, O, A, Shards(count=2)), make_hyper(config, A)
    state, key = jax.jit(agent.init)(jax.random.key(0), hyper), jax.random.key(1)
    halves = jax.tree.map(lambda x: x.reshape(2, B // 2, *x.shape[1:]), batch())
    joint, _ = jax.jit(jax.vmap(lambda half: shard.update(state, half, hyper, key), axis_name=LANE))(halves)
    update = jax.jit(agent.update)
    alone = [update(state, jax.tree.map(lambda x, i=i: x[i], halves), hyper, key)[0] for i in range(2)]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *map(statistics, alone))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g[0], w, rtol=1e-5, atol=1e-6), statistics(joint), mean)
    jax.tree.map(lambda g: np.testing.assert_array_equal(g[0], g[1]), statistics(joint))


def test_seeds_side_by_side_have_statistics_of_their_own(tiny: Tiny) -> None:
    config = tiny(*options("renorm"))
    agent, state, hyper, update = make(config)
    keys = jax.random.split(jax.random.key(0))
    states = [state, state.replace(params=disturbed(state.params))]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    new, _ = jax.jit(jax.vmap(lambda state, key: agent.update(state, batch(), hyper, key)))(stacked, keys)
    for i in range(2):
        alone, _ = update(states[i], batch(), hyper, keys[i])
        for got, wanted in zip(*(jax.tree.leaves(statistics(each)) for each in (new, alone)), strict=True):
            np.testing.assert_allclose(got[i], wanted, rtol=1e-5, atol=1e-6)


def test_acting_and_diagnostics_ask_the_running_statistics(tiny: Tiny) -> None:
    agent, state, hyper, _ = make(tiny(*options("batch")))
    moved = state.replace(params=disturbed(state.params))
    rows = batch()
    one = agent.act_deterministic(moved, rows.observation[:1])
    np.testing.assert_allclose(one, agent.act_deterministic(moved, rows.observation)[:1], rtol=1e-5, atol=1e-6)
    seen = agent.diagnostics(moved, rows, hyper, jax.random.key(0))
    q = agent.critics(moved.params["critic"], rows.observation, rows.action)
    assert float(seen["qf1_mean"]) == pytest.approx(float(q[0].mean()), rel=1e-4)
    assert np.isfinite(float(seen["mean_sq_bellman_error1"]))
