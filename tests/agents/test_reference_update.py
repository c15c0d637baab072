"""The JAX update of SAC-v1 against the NumPy one in `reference`, two updates in a row, for combinations of options."""

import dataclasses
import itertools
from typing import Any

import jax
import numpy as np
import pytest
import reference

from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.registry import make_agent
from sacbrax.config import from_mapping
from sacbrax.core.types import Transition

B, O, A = 12, 3, 2
LINEAR = {"schedule": "linear", "values": [2.0, 6.0], "boundaries": [4]}
CHOICES: dict[str, tuple[Any, ...]] = {
    "policy.kind": ("gaussian", "gmm", "latent"),
    "algorithm.policy_gradient": ("reparameterized", "likelihood_ratio"),
    "algorithm.action_prior": ("uniform", "normal"),
    "algorithm.policy_q": ("first", "min"),
    "policy.squash": (True, False),
    "policy.regularization": (0.0, 0.1),
    "algorithm.target_update_interval": (1, 2),
    "algorithm.reward_scale": (3.0, LINEAR),
    "algorithm.actor_learning_rate": (None, 1e-2),
    "network.critic_layer_norm": (False, True),
    "network.activation": ("tanh", "relu"),
}
LOSSES = 6  # the options from here on touch each loss alike
ALL = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]


def pairs(combination: dict[str, Any]) -> set[Any]:
    return set(itertools.combinations([(key, str(value)) for key, value in combination.items()], 2))


def cover() -> list[dict[str, Any]]:
    """Few combinations in which every two values of every two options meet (greedy, always the same)."""
    missing = set().union(*map(pairs, ALL))
    candidates = [ALL[i] for i in np.random.default_rng(0).permutation(len(ALL))[:400]]
    chosen = []
    while missing:
        best = max(candidates, key=lambda c: len(pairs(c) & missing))
        if not pairs(best) & missing:
            candidates = ALL
            continue
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def name(combination: dict[str, Any]) -> str:
    return "-".join("schedule" if isinstance(value, dict) else str(value) for value in combination.values())


def config_of(combination: dict[str, Any]) -> Any:
    mapping: dict[str, Any] = {
        "algorithm": {"name": "sac_v1", "learning_rate": 3e-3, "tau": 0.1},
        "policy": {"coupling_hidden_sizes": [4], "log_sigma_min": -1.0, "log_sigma_max": 1.0},
        "network": {"hidden_sizes": [6]},
    }
    for key, value in combination.items():
        section, option = key.split(".")
        mapping[section][option] = value
    mapping["network"]["actor_layer_norm"] = mapping["network"]["critic_layer_norm"]
    return from_mapping(mapping)


def options_of(config: Any) -> reference.Options:
    algorithm, policy = config.algorithm, config.policy
    schedule = not isinstance(algorithm.reward_scale, float)
    return reference.Options(
        kind=policy.kind,
        policy_gradient=algorithm.policy_gradient,
        action_prior=algorithm.action_prior,
        policy_q=algorithm.policy_q,
        squash=policy.squash,
        regularization=policy.regularization,
        target_update_interval=algorithm.target_update_interval,
        reward_scale=(lambda step: 2.0 + step) if schedule else (lambda step: algorithm.reward_scale),
        activation=config.network.activation,
        layer_norm=config.network.critic_layer_norm,
        components=policy.components,
        log_sigma_bounds=(policy.log_sigma_min, policy.log_sigma_max),
        tau=algorithm.tau,
        rates={"actor": algorithm.actor_learning_rate or 3e-3, "critic": 3e-3, "value": 3e-3},
    )


def to_numpy(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def check(combination: dict[str, Any]) -> None:
    config = config_of(combination)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        agent = make_agent(config, O, A)
        # The fresh action must be one and the same for both sides, whatever keys the update draws it with.
        draw, key = agent.policy.draw, jax.random.key(7)
        agent.policy.draw = lambda params, observation, _: draw(params, observation, key)
        start = jax.tree.map(
            lambda leaf: np.asarray(leaf + 0.3 * rng.normal(size=leaf.shape)), agent.init(jax.random.key(1)).params
        )
        state = agent.init(jax.random.key(1))
        state = dataclasses.replace(
            state,
            params=start,
            target={"value": jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape), start["value"])},
            optimizer=jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) if leaf.ndim else leaf, state.optimizer),
        )
        zeros = jax.tree.map(np.zeros_like, start)
        ours = reference.State(to_numpy(start), to_numpy(state.target), zeros, zeros, 0)
        options = options_of(config)
        for _ in range(2):
            batch = {
                "observation": rng.normal(size=(B, O)),
                "action": rng.uniform(-1, 1, (B, A)),
                "reward": rng.normal(size=B),
                "discount": rng.choice([0.0, 0.99], B),
                "next_observation": rng.normal(size=(B, O)),
            }
            u0 = np.asarray(agent.policy.sample(state.params["actor"], batch["observation"], key)[2])
            state, _ = agent.update(state, Transition(**batch), Hyper.create(config, A), key)
            ours = reference.update(ours, batch, u0, options)
            # Adam's first moments are the gradients themselves; the parameters alone would forgive their size.
            for wanted, got in (
                (ours.first_moment, state.optimizer.mu),
                (ours.second_moment, state.optimizer.nu),
                (ours.params, state.params),
                (ours.target, state.target),
            ):
                jax.tree.map(lambda w, g: np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-9), wanted, dict(got))


@pytest.mark.parametrize("combination", cover(), ids=name)
def test_update_equals_the_reference(combination):
    check(combination)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHOICES["policy.kind"])
def test_update_equals_the_reference_for_every_combination(kind):
    """All combinations of the options that enter the losses; the others take turns."""
    stride = len(ALL) // np.prod([len(values) for values in list(CHOICES.values())[:LOSSES]])
    for i, start in enumerate(range(0, len(ALL), stride)):
        combination = ALL[start + 7 * i % stride]
        if combination["policy.kind"] == kind:
            check(combination)
