"""Slow: every policy learns by both gradients, on probe environments to the known best action and on the swimmer."""

from typing import Any

import numpy as np
import pytest
from learners import learn, mode

from sacbrax.config import from_mapping
from sacbrax.run import loop

pytestmark = pytest.mark.slow
KINDS = ["gaussian", "gmm", "latent"]
GRADIENTS = ["reparameterized", "likelihood_ratio"]


@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2"])
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_policy_and_gradient_finds_the_best_actions(tiny, kind, gradient, algorithm):
    options = (f"policy.kind={kind}", f"algorithm.policy_gradient={gradient}")
    seen = np.stack([np.linspace(-1, 1, 9), np.zeros(9)], axis=1)
    trainer, state = learn(tiny, algorithm, "Bandit", *options)
    np.testing.assert_allclose(mode(trainer, state, seen), 0.5, atol=0.15)
    trainer, state = learn(tiny, algorithm, "Mirror", *options)
    clear = seen[np.abs(seen[:, 0]) > 0.2]
    assert np.all(mode(trainer, state, clear)[:, 0] * np.sign(clear[:, 0]) > 0.8)


SWIM: dict[str, Any] = {
    "env": {"num_envs": 64},
    "algorithm": {
        "name": "sac_v1",
        "gamma": 0.999,
        "tau": 0.01,
        "learning_rate": 1e-3,
        "n_step": 20,
        "reward_scale": 20,
        "reward_centering": 0.002,
    },
    "network": {
        "hidden_sizes": [64, 64],
        "activation": "silu",
        "critic_layer_norm": True,
        "normalize_observations": True,
    },
    "train": {"total_env_steps": 640_000, "exploration_env_steps": 6_400},
    "eval": {"every_env_steps": 64_000, "episodes": 8},
    "checkpoint": {"full": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_policy_learns_to_swim(kind, tmp_path):
    """SAC-v1 on the fused engine passes a return of 30; at rest the swimmer gets 0."""
    config = from_mapping(SWIM | {"policy": {"kind": kind}, "run": {"dir": str(tmp_path)}})
    result = loop.run(config, quiet=True)
    assert result.summary["best_return"] > 30
