"""The updates of SAC-v1 and SAC-v2 against the NumPy ones in `reference_update`, two in a row amid training, for
combinations of options."""

import dataclasses
import itertools
from typing import Any

import jax
import numpy as np
import pytest
import reference_update
from reference_options import CRITICS, NETWORKS, OPTIMIZERS, config_of, options_of, to_numpy

from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.core.types import Transition

B, O, A = 12, 3, 2
FIRST, OWN = 3, 1  # updates made before the two that are compared, and of groups that may rest
CHOICES: dict[str, tuple[Any, ...]] = {
    "algorithm.name": ("sac_v1", "sac_v2"),
    "policy.kind": ("gaussian", "gmm", "latent"),
    "algorithm.policy_gradient": ("reparameterized", "likelihood_ratio"),
    "algorithm.action_prior": ("uniform", "normal"),
    "algorithm.policy_q": ("first", "min", "mean"),
    "policy.squash": (True, False),
    "policy.regularization": (0.0, 0.1),
    "algorithm.target_update_interval": (1, 2),
    "schedules": (False, True),
    "algorithm.policy_delay": (1, 2),
    "optimizer": tuple(OPTIMIZERS),
    "networks": tuple(NETWORKS),
    "critics": tuple(CRITICS),
    "algorithm.target_q": ("min", "mean"),
    "algorithm.num_critics": (3,),
    "algorithm.target_critics": (None, 2),
    "network.activation": ("tanh", "relu"),
}
LOSSES = 7  # the options from here on touch each loss alike


def cover() -> list[dict[str, Any]]:
    """Few combinations in which every two values of every two options meet (greedy, always the same)."""
    missing = {
        ((one, i), (two, j))
        for one, two in itertools.combinations(CHOICES, 2)
        for i, j in itertools.product(range(len(CHOICES[one])), range(len(CHOICES[two])))
    }
    rng, chosen = np.random.default_rng(0), []
    while missing:
        wanted = dict(min(missing))
        candidates = [
            {key: wanted.get(key, int(rng.integers(len(values)))) for key, values in CHOICES.items()}
            for _ in range(100)
        ]
        best = max(candidates, key=lambda c: len(missing & set(itertools.combinations(c.items(), 2))))
        missing -= set(itertools.combinations(best.items(), 2))
        chosen.append({key: CHOICES[key][index] for key, index in best.items()})
    return chosen


def name(combination: dict[str, Any]) -> str:
    return "-".join(map(str, combination.values()))


class Recorder:
    """Stands in for a policy's `draw` and notes each: whether it is differentiated, the observation, the key; and for
    the agent's choice of critics."""

    def __init__(self, agent: Any):
        self._draw, self.draws = agent.policy.draw, []
        agent.policy.draw = self
        self._members, self.members = agent._members, None
        agent._members = self.choose

    def choose(self, key: Any) -> Any:
        key, self.members = self._members(key)
        return key, self.members

    def __call__(self, params: Any, observation: Any, key: Any) -> Any:
        traced = isinstance(jax.tree.leaves(params)[0], jax.core.Tracer)
        self.draws.append((traced, observation, key))
        return self._draw(params, observation, key)

    def take(self, actor: Any, batch: dict[str, np.ndarray], policy: bool) -> reference_update.Draws:
        """The draws since the last call by what they are for; each must have a key of its own."""
        keys = [tuple(np.asarray(jax.random.key_data(key))) for _, _, key in self.draws]
        assert len(set(keys)) == len(keys), "two draws of one update share a key"
        found: dict[str, np.ndarray] = {}
        for traced, observation, key in self.draws:
            at_next = np.array_equal(observation, batch["next_observation"])
            place = "next" if at_next else "fresh" if traced or not policy else "second"
            assert place not in found
            assert traced == (policy and place == "fresh")
            assert np.array_equal(observation, batch["next_observation" if at_next else "observation"])
            found[place] = np.asarray(self._draw(actor, observation, key)[0])
        self.draws = []
        members = None if self.members is None else tuple(map(int, self.members))
        return reference_update.Draws(**found, members=members)


def check(combination: dict[str, Any]) -> None:
    config = config_of(combination)
    options, rng = options_of(config, combination), np.random.default_rng(0)

    def disturbed(tree: Any, size: float) -> Any:
        return jax.tree.map(lambda leaf: np.asarray(leaf + size * rng.normal(size=leaf.shape)), dict(tree))

    with jax.enable_x64(True):
        agent = make_agent(config, O, A)
        recorder = Recorder(agent)
        state = agent.init(jax.random.key(1), make_hyper(config, A))
        params, moments = disturbed(state.params, 0.3), disturbed(state.optimizer.mu, 0.1)
        squares = jax.tree.map(lambda leaf: leaf**2, disturbed(state.optimizer.nu, 0.1))
        target = disturbed({group: params[group] for group in state.target}, 0.1)
        delay = config.algorithm.policy_delay
        rests = lambda group: delay > 1 and group in ("actor", "log_temperature")  # noqa: E731
        counts = {group: OWN if rests(group) else FIRST for group in state.params}
        count = np.int32(FIRST) if delay == 1 else {group: np.int32(own) for group, own in counts.items()}
        state = dataclasses.replace(
            state,
            params=params,
            target=target,
            optimizer=state.optimizer._replace(count=count, mu=moments, nu=squares),
            gradient_steps=np.int32(FIRST),
        )
        ours = reference_update.State(*map(to_numpy, (params, target, moments, squares)), FIRST, counts)
        for step in range(2):
            batch = {
                "observation": rng.normal(size=(B, O)),
                "action": rng.uniform(-1, 1, (B, A)),
                "reward": rng.normal(size=B),
                "discount": rng.choice([0.0, 0.99], B),
                "next_observation": rng.normal(size=(B, O)),
            }
            before, policy = state.params["actor"], (step + 1) % delay == 0
            state, _ = agent.update(state, Transition(**batch), make_hyper(config, A), jax.random.key(step), policy)
            draws = recorder.take(before, batch, policy)
            ours = reference_update.UPDATES[config.algorithm.name](ours, batch, draws, options, policy)
            assert int(state.gradient_steps) == ours.updates
            # Adam's first moments hold the gradients themselves; the parameters alone would forgive their size.
            for wanted, got in (
                (ours.first_moment, state.optimizer.mu),
                (ours.second_moment, state.optimizer.nu),
                (ours.params, state.params),
                (ours.target, state.target),
            ):
                # A gradient as small as Adam's epsilon, 1e-8, makes its rounding, 1e-14, up to a millionth of a step.
                jax.tree.map(lambda w, g: np.testing.assert_allclose(g, w, rtol=1e-5, atol=2e-8), wanted, dict(got))


@pytest.mark.parametrize("combination", cover(), ids=name)
def test_update_equals_the_reference(combination: dict[str, Any]) -> None:
    check(combination)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", CHOICES["algorithm.name"])
@pytest.mark.parametrize("kind", CHOICES["policy.kind"])
def test_update_equals_the_reference_for_every_combination(algorithm: str, kind: str) -> None:
    """All combinations of the options that enter the losses; the others are drawn."""
    rng, values = np.random.default_rng(0), list(CHOICES.values())
    for losses in itertools.product(*values[2:LOSSES]):
        others = [choice[rng.integers(len(choice))] for choice in values[LOSSES:]]
        check(dict(zip(CHOICES, (algorithm, kind, *losses, *others), strict=True)))
