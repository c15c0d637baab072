"""Categorical critics: projections against brute force and closed forms, values, losses, what is reported, and that
every kind learns values known in advance."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import Tiny, learn, q_values
from reference_critics import brute_force

from sacbrax import config as config_lib
from sacbrax.agents.critics import Returns, make_critics
from sacbrax.agents.critics.categorical import project, scatter

B, O, A, E = 6, 3, 2, 3
# Supports of either kind, in the words of a command line.
LINEAR = ("critic.v_min=-3", "critic.v_max=5", "critic.num_atoms=9")
SYMLOG = ("critic.v_min=-300", "critic.v_max=300", "critic.num_atoms=41", "critic.atom_spacing=symlog")
KINDS = {
    "categorical": ("critic.kind=categorical", *LINEAR),
    "categorical symlog": ("critic.kind=categorical", *SYMLOG),
}


def critics_of(tiny: Tiny, kind: str, *overrides: str) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Critics with parameters away from their start, and observations and actions."""
    rng = np.random.default_rng(0)
    critics = make_critics(tiny(*KINDS[kind], "network.hidden_sizes=[8]", *overrides), E)
    observation, action = (rng.normal(size=(B, size)).astype(np.float32) for size in (O, A))
    params = critics.init(jax.random.key(0), observation, action)
    disturbed = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), params)
    return critics, disturbed, observation, action


ATOMS = {
    "linear": np.linspace(-3.0, 5.0, 9),
    "two": np.array([-1.0, 2.0]),
    "uneven": np.array([-7.0, -2.0, -1.5, 0.0, 0.1, 3.0, 30.0]),
}


PROJECTIONS = [(name, project) for name in ATOMS] + [(name, scatter) for name in ("linear", "two")]
both = pytest.mark.parametrize(("name", "project"), PROJECTIONS)


@both
def test_a_projection_equals_brute_force(name: str, project: Callable) -> None:
    atoms, rng = ATOMS[name], np.random.default_rng(2)
    values = np.concatenate([rng.uniform(-9.0, 9.0, (B, 20)), np.tile(atoms, (B, 1))], axis=1)
    probabilities = rng.dirichlet(np.ones(values.shape[1]), B)
    found = np.asarray(project(*map(jnp.asarray, (values, probabilities, atoms))))
    np.testing.assert_allclose(found, brute_force(values, probabilities, atoms), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)


@both
def test_a_projection_keeps_the_mean_within_the_support(name: str, project: Callable) -> None:
    atoms, rng = ATOMS[name], np.random.default_rng(2)
    values = rng.uniform(atoms[0], atoms[-1], (B, 20))
    probabilities = rng.dirichlet(np.ones(20), B)
    found = np.asarray(project(*map(jnp.asarray, (values, probabilities, atoms))))
    np.testing.assert_allclose(found @ atoms, (values * probabilities).sum(axis=1), atol=1e-4)
    far = np.asarray(project(jnp.array([[1e6], [-jnp.inf]]), jnp.ones((2, 1)), jnp.asarray(atoms)))
    np.testing.assert_allclose(far @ atoms, atoms[[-1, 0]], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_means_over_the_atoms(tiny: Tiny, kind: str) -> None:
    critics, params, observation, action = critics_of(tiny, kind)
    logits = np.asarray(critics.outputs(params, observation, action), np.float64)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    atoms = np.asarray(critics.atoms)
    expected = (weights * atoms).sum(axis=-1) / weights.sum(axis=-1)
    np.testing.assert_allclose(critics(params, observation, action), expected, rtol=1e-4, atol=1e-4)
    symlog = np.sign(atoms) * np.log1p(np.abs(atoms)) if "symlog" in kind else atoms
    np.testing.assert_allclose(
        np.diff(symlog), np.full(len(atoms) - 1, (symlog[-1] - symlog[0]) / (len(atoms) - 1)), rtol=1e-4
    )


def test_fresh_critics_of_a_wide_support_promise_little(tiny: Tiny) -> None:
    wide = ("critic.v_min=-20000", "critic.v_max=20000", "critic.num_atoms=101")
    critics, _, observation, action = critics_of(tiny, "categorical symlog", *wide)
    params = critics.init(jax.random.key(3), observation, action)
    assert np.abs(critics(params, observation, action)).max() < 3.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_cross_entropy_and_least_at_the_target(tiny: Tiny, kind: str) -> None:
    critics, params, observation, action = critics_of(tiny, kind)
    logits = critics.outputs(params, observation, action)
    target = Returns(jnp.linspace(-2.0, 4.0, B))
    wanted = np.asarray(critics.projected(target), np.float64)
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    expected = -(wanted[None] * log_p).sum(axis=-1).mean(axis=1).sum()
    assert float(critics.loss(logits, target)) == pytest.approx(expected, rel=1e-4)
    slope = jax.grad(lambda logits: critics.loss(logits, target))(logits)
    np.testing.assert_allclose(slope, (np.exp(log_p) - wanted[None]) / B, atol=1e-6)
    no_slope = jax.grad(lambda mean: critics.loss(logits, Returns(mean)))(target.mean)
    np.testing.assert_array_equal(no_slope, 0.0)


@pytest.mark.parametrize("reduction", ["min", "mean"])
def test_members_together_promise_the_smaller_ones_distribution_or_the_mixture(tiny: Tiny, reduction: str) -> None:
    critics, *_ = critics_of(tiny, "categorical")
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(E, B, 9)).astype(np.float32))
    p, q = np.asarray(jax.nn.softmax(logits)), np.asarray(critics.value(logits))
    assert len(set(q.argmin(axis=0))) > 1, "the critics must disagree"
    returns = critics.reduced(logits, reduction)
    chosen = p[q.argmin(axis=0), np.arange(B)] if reduction == "min" else p.mean(axis=0)
    np.testing.assert_allclose(returns.probabilities, chosen, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(returns.mean, q.min(axis=0) if reduction == "min" else q.mean(axis=0), rtol=1e-5)
    values = np.asarray(returns.mean)[:, None] + np.asarray(returns.deviations)
    np.testing.assert_allclose(values, np.tile(np.asarray(critics.atoms), (B, 1)), atol=1e-5)
    moved = returns.about(jnp.full(B, 7.0), jnp.linspace(0.0, 1.0, B))
    np.testing.assert_allclose(
        np.asarray(moved.deviations), np.linspace(0.0, 1.0, B)[:, None] * np.asarray(returns.deviations), rtol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_how_much_lies_beyond_the_support_is_reported(tiny: Tiny, kind: str) -> None:
    critics, *_ = critics_of(tiny, kind)
    low, high = float(critics.atoms[0]), float(critics.atoms[-1])
    target = Returns(jnp.array([low, high, 1.01 * high, 1.01 * low - 0.1, 0.0, 9.0 * high]))
    assert float(critics.metrics(target)["off_support"]) == pytest.approx(3 / 6)


def test_of_a_distribution_its_share_beyond_the_support_is_reported(tiny: Tiny) -> None:
    critics, *_ = critics_of(tiny, "categorical")
    returns = Returns(jnp.zeros(1), jnp.array([[-4.0, 0.0, 2.0, 6.0]]), jnp.array([[0.1, 0.2, 0.3, 0.4]]))
    assert float(critics.metrics(returns)["off_support"]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("critic.kind=categorical",), "critic.v_min: expected a number"),
        (("critic.kind=categorical", "critic.v_min=0"), "critic.v_max: expected a number"),
        (
            ("critic.kind=categorical", "critic.v_min=1", "critic.v_max=1"),
            "critic.v_min: must be below critic.v_max = 1.0",
        ),
        (("critic.kind=quantile",), "critic.kind: unknown value"),
    ],
)
def test_supports_that_cannot_be_are_refused(tiny: Tiny, overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(config_lib.ConfigError, match=says):
        tiny(*overrides)


GOING_ON = ("algorithm.gamma=0.9", "env.episode_length=7", "algorithm.n_step=3", "critic.num_atoms=51")
WIDE = ("critic.kind=categorical", "critic.v_min=-20000", "critic.v_max=20000", "critic.atom_spacing=symlog")
LEARNT = {
    "categorical": (
        "sac_v2",
        "Constant",
        ("critic.kind=categorical", "critic.v_min=-5", "critic.v_max=15", "critic.num_atoms=21"),
        10.0,
    ),
    "categorical sac_v1": (
        "sac_v1", "Constant", ("critic.kind=categorical", "critic.v_min=-100", "critic.v_max=300"), 10.0,
    ),
    "categorical symlog": ("sac_v2", "Constant", WIDE, 10.0),
}  # fmt: skip
QUICK = ("categorical",)
SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in LEARNT if case not in QUICK]


@pytest.mark.parametrize("case", [*QUICK, *SLOW])
def test_every_kind_learns_the_value_of_going_on_for_ever(tiny: Tiny, case: str) -> None:
    algorithm, env, options, value = LEARNT[case]
    trainer, state = learn(tiny, algorithm, env, *GOING_ON, *options)
    seen = np.stack([np.linspace(-0.9, 0.9, 8), np.zeros(8)], axis=1)
    q = q_values(trainer, state, seen, np.linspace(-0.9, 0.9, 8)[::-1, None])
    np.testing.assert_allclose(q, value, rtol=0.2)
    assert q.mean() == pytest.approx(value, rel=0.05)


def test_normalized_rewards_fit_a_support_that_knows_nothing_of_the_task(tiny: Tiny) -> None:
    support = ("critic.kind=categorical", "critic.v_min=-20", "critic.v_max=20")
    trainer, state = learn(tiny, "sac_v2", "Constant", *GOING_ON, *support, "algorithm.normalize_rewards=true")
    seen = np.stack([np.linspace(-0.9, 0.9, 8), np.zeros(8)], axis=1)
    q = q_values(trainer, state, seen, np.linspace(-0.9, 0.9, 8)[::-1, None])
    factor = float(state.return_scale.factor)
    assert abs(factor - 1.0) > 0.2, "the test must tell it from 1"
    assert q.mean() == pytest.approx(10.0 * factor, rel=0.05)
