"""A key serves once. What `split` and `fold_in` make of one key may be equal: `fold_in(key, 1)` is `split(key)[1]`."""

import collections
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Probe

from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import Config
from sacbrax.core.types import Transition
from sacbrax.engines.upstream import State
from sacbrax.envs.vector_env import VectorEnv
from sacbrax.xla import random

Tiny = Callable[..., Config]
Used = collections.Counter[tuple[int, ...]]


def data(key: Any) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Used:
    """How often each key was drawn from, split or folded, by what is not compiled."""
    counts: Used = collections.Counter()

    def counted(module: Any, name: str) -> None:
        original = getattr(module, name)

        def call(key: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(key, jax.core.Tracer):
                counts[data(key)] += 1
            return original(key, *args, **kwargs)

        monkeypatch.setattr(module, name, call)

    for name in ("uniform", "randint", "split", "fold_in"):  # a normal number is a uniform one at first
        counted(random, name)
    counted(jax.random, "categorical")
    return counts


def test_the_trap_is_there() -> None:
    key = jax.random.key(0)
    assert data(jax.random.fold_in(key, 1)) == data(jax.random.split(key)[1])


@pytest.mark.parametrize("kind", ["gaussian", "gmm", "latent"])
@pytest.mark.parametrize("gradient", ["reparameterized", "likelihood_ratio"])
@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2"])
def test_an_update_uses_each_key_once(tiny: Tiny, used: Used, algorithm: str, gradient: str, kind: str) -> None:
    options = [f"algorithm.name={algorithm}", f"algorithm.policy_gradient={gradient}", f"policy.kind={kind}"]
    config = tiny(*options, "policy.candidates=2", "policy.coupling_layers=1")
    agent = make_agent(config, 3, 2)
    hyper = make_hyper(config, 2)
    state = agent.init(jax.random.key(0), hyper)
    seen = jnp.linspace(-1, 1, 12).reshape(4, 3)
    batch = Transition(seen, seen[:, :2], seen[:, 0], jnp.full(4, 0.9), seen + 0.1)
    used.clear()
    agent.update(state, batch, hyper, jax.random.key(1))
    assert set(used.values()) == {1}
    assert len(used) >= (1 if algorithm == "sac_v1" else 3)
    used.clear()
    agent.diagnostics(state, batch, hyper, jax.random.key(1))
    assert set(used.values()) == {1}


class Keyed(Probe):
    """Carries the key it was reset or made anew with, and ends at once."""

    reset_pool = 5

    def reset(self, rng: Any) -> State:
        return super().reset(rng).replace(info={"reset": jax.random.key_data(rng), "again": jax.random.key_data(rng)})

    def reseed(self, state: State, key: Any) -> State:
        return state.replace(info=state.info | {"again": jax.random.key_data(key)})

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return 0.0, True


def test_starts_made_anew_have_keys_of_their_own(used: Used) -> None:
    vector = VectorEnv(Keyed(), 8, 10)
    state = vector.reset(jax.random.key(0))
    after, _ = vector.step(state, jnp.zeros((8, 1)), jax.random.key(1))
    assert set(used.values()) == {1}
    made = [np.asarray(x.info["again"]) for x in (state.state, after.state)]
    keys = [tuple(row) for row in np.concatenate([np.asarray(state.pool.info["reset"]), *made]).tolist()]
    assert len(set(keys)) == len(keys) == 5 + 8 + 8
    assert not set(keys) & set(used), "what a start is made of is drawn from nowhere else"
