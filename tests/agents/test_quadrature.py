"""What an update does on average over its random numbers, against integrals over the action: targets, the actor's
gradient, the dual. No sample is shared, so this notices where samples depend on each other that should not."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import reference
import reference_update
from reference_options import config_of, options_of, to_numpy

from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.core.types import Transition

B, O, KEYS = 3, 2, 20_000
GRID = np.linspace(-9.0, 9.0, 721)
# algorithm, policy, gradient, prior, Q of the actor
CASES = [
    ("sac_v2", "gaussian", "reparameterized", "uniform", "min"),
    ("sac_v2", "gaussian", "reparameterized", "normal", "first"),
    ("sac_v2", "gaussian", "likelihood_ratio", "uniform", "first"),
    ("sac_v2", "gaussian", "likelihood_ratio", "normal", "min"),
    ("sac_v2", "gmm", "reparameterized", "normal", "min"),
    ("sac_v2", "latent", "likelihood_ratio", "normal", "min"),
    ("sac_v1", "gmm", "likelihood_ratio", "normal", "min"),
    ("sac_v1", "gaussian", "reparameterized", "uniform", "first"),
]
OTHERS = {
    "policy.squash": True,
    "policy.regularization": 0.0,
    "algorithm.target_update_interval": 1,
    "schedules": False,
    "networks": "plain",
    "network.hidden_sizes": [6],
    "network.activation": "tanh",
}
KEY_OF = ("algorithm.name", "policy.kind", "algorithm.policy_gradient", "algorithm.action_prior", "algorithm.policy_q")


def expectation(
    actor: Any, observation: np.ndarray, integrand: Callable[[Any, Any], Any], options: reference.Options
) -> np.ndarray:
    """E over the policy of integrand(observation, u) at each observation, [B, O] -> [B]; one action."""
    s, u = np.repeat(observation, len(GRID), axis=0), np.tile(GRID, len(observation))[:, None]
    weight = np.exp(reference.density(actor, s, u, options)) * (GRID[1] - GRID[0])
    return (weight * integrand(s, u)).reshape(len(observation), len(GRID)).sum(axis=1)


def gradients_by_quadrature(
    params: Any, target: Any, batch: dict[str, np.ndarray], options: reference.Options
) -> dict[str, Any]:
    """The expected gradient of every group, from docs/algorithm.md."""
    s, alpha = batch["observation"], np.exp(params.get("log_temperature", 0.0))

    def relative_log_pi(actor: Any) -> Callable[[Any, Any], Any]:
        return lambda s, u: reference.log_pi(actor, s, u, options) - reference.log_prior(np.tanh(u), options)

    def smallest_q(critics: Any) -> Callable[[Any, Any], Any]:
        return lambda s, u: reference_update.smallest(reference_update.q_values(critics, s, np.tanh(u), options))

    def soft_value(critics: Any, observation: np.ndarray) -> np.ndarray:
        q, log_pi = smallest_q(critics), relative_log_pi(params["actor"])
        return expectation(params["actor"], observation, lambda s, u: q(s, u) - alpha * log_pi(s, u), options)

    def actor_loss(actor: Any) -> Any:
        log_pi, critics = relative_log_pi(actor), params["critic"]
        q = smallest_q(critics if options.policy_q == "min" else reference.tree_map(lambda leaf: leaf[:1], critics))
        return expectation(actor, s, lambda s, u: alpha * log_pi(s, u) - q(s, u), options).mean()

    def value(tree: Any, observation: np.ndarray) -> np.ndarray:
        return reference.mlp(tree, observation, options)[:, 0]

    is_v1 = "value" in params
    follows = batch["next_observation"]
    next_value = value(target["value"], follows) if is_v1 else soft_value(target["critic"], follows)
    y = options.reward_scale(0) * batch["reward"] + batch["discount"] * next_value
    result = {
        "actor": reference.gradient(actor_loss, params["actor"]),
        "critic": reference_update.critic_gradient(params, batch, (y[:, None], np.ones((B, 1))), options),
    }
    if is_v1:
        wanted = soft_value(params["critic"], s)

        def value_loss(tree: Any) -> Any:
            return 0.5 * ((value(tree, s) - wanted) ** 2).mean()

        return result | {"value": reference.gradient(value_loss, params["value"])}
    surplus = expectation(params["actor"], s, relative_log_pi(params["actor"]), options) + options.target_entropy(0)
    return result | {"log_temperature": -surplus.mean()}


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_updates_are_right_on_average(case: tuple[str, ...]) -> None:
    combination = dict(zip(KEY_OF, case, strict=True)) | OTHERS
    config = config_of(combination)
    agent, rng = make_agent(config, O, 1), np.random.default_rng(1)

    def disturbed(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: np.float32(leaf + 0.4 * rng.normal(size=leaf.shape)), dict(tree))

    state = agent.init(jax.random.key(0), make_hyper(config, 1))
    params = disturbed(state.params)
    state = state.replace(params=params, target=disturbed({group: params[group] for group in state.target}))
    batch = {
        "observation": rng.normal(size=(B, O)),
        "action": rng.uniform(-1, 1, (B, 1)),
        "reward": rng.normal(size=B),
        "discount": np.array([0.9, 0.0, 0.9]),
        "next_observation": rng.normal(size=(B, O)),
    }
    hyper, transition = make_hyper(config, 1), Transition(**{key: np.float32(x) for key, x in batch.items()})

    def gradient(key: Any) -> Any:  # the first of Adam's moments, which began at zero
        return jax.tree.map(lambda moment: 10.0 * moment, agent.update(state, transition, hyper, key)[0].optimizer.mu)

    found = jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(7), KEYS))
    wanted = gradients_by_quadrature(to_numpy(params), to_numpy(state.target), batch, options_of(config, combination))
    assert set(found) == set(wanted) == set(params)
    for group in wanted:
        samples, exact = (jax.tree.leaves(tree[group]) for tree in (found, wanted))
        mean = np.concatenate([np.asarray(x, np.float64).mean(axis=0).ravel() for x in samples])
        error = np.concatenate([np.asarray(x, np.float64).std(axis=0).ravel() for x in samples]) / np.sqrt(KEYS)
        numbers = np.concatenate([np.ravel(x) for x in exact])
        assert np.linalg.norm(error) < 0.05 * np.linalg.norm(numbers), f"{group}: too noisy to tell"
        assert (np.abs(mean - numbers) < 5 * error + 1e-5).all(), group
