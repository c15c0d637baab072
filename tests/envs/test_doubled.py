"""Observations of which `privileged_state` begins with `state` are kept once, and only where that is certain."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Probe
from tiny_config import make_tiny

from sacbrax.engines.upstream import State
from sacbrax.envs.doubled import state_is_doubled
from sacbrax.envs.wrappers import FlatObservation
from sacbrax.training.trainer import Trainer


class Robot(Probe):
    """Its `state` is noisy; `how` says what its privileged state has to do with it."""

    def __init__(self, how: str = "begins") -> None:
        self.how = how

    @property
    def observation_size(self) -> Any:
        return {"state": (3,), "privileged_state": (3 if self.how == "equal" else 7,)}

    def reset(self, rng: Any) -> State:
        start = super().reset(rng)
        return self._observed(start.replace(info={"rng": jax.random.key_data(rng), "level": jnp.zeros(())}))

    def step(self, state: State, action: Any) -> State:
        seen: Any = state.obs
        after = super().step(state, action)
        return self._observed(after.replace(reward=after.reward + seen["state"][1]), moved=True)

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return action[0], time == 3.0

    def _observed(self, state: State, moved: bool = False) -> State:
        physics: Any = state.pipeline_state
        key, drawn = jax.random.split(jax.random.wrap_key_data(state.info["rng"]))
        seen = jnp.hstack([physics + state.info["level"] * jax.random.normal(drawn, (2,)), 0.5])
        clean = jnp.hstack([physics, 0.5])
        privileged = {
            "begins": lambda: jnp.hstack([seen, clean, physics[0]]),
            "jitted": lambda: jax.jit(lambda a, b: jnp.concatenate([a, b]))(seen, jnp.arange(4.0)),
            "equal": lambda: seen,
            "noise of level 0": lambda: jnp.hstack([clean, seen, physics[0]]),
            "not in a step": lambda: jnp.hstack([clean if moved else seen, clean, physics[0]]),
            "ends": lambda: jnp.hstack([physics[0], clean, seen]),
        }[self.how]()
        info = state.info | {"rng": jax.random.key_data(key)}
        return state.replace(obs={"state": seen, "privileged_state": privileged}, info=info)


@pytest.mark.parametrize(
    ("how", "doubled"),
    [
        ("begins", True),
        ("jitted", True),
        ("equal", True),
        ("noise of level 0", False),  # whose numbers are equal in every step
        ("not in a step", False),
        ("ends", False),
    ],
)
def test_the_program_says_whether_state_is_there_twice(how: str, doubled: bool) -> None:
    assert state_is_doubled(Robot(how)) is doubled
    env = FlatObservation(Robot(how))
    privileged = 3 if how == "equal" else 7
    assert (env.observation_size, env.actor_observation_size) == (privileged if doubled else 3 + privileged, 3)
    assert next(iter(env.observation_parts.items())) == ("state", 3)
    assert sum(env.observation_parts.values()) == env.observation_size


def test_calls_of_one_function_are_told_apart() -> None:
    """JAX keeps one trace for both: their variables are the same."""

    class Twice(Robot):
        def _observed(self, state: State, moved: bool = False) -> State:
            state = super()._observed(state)
            half = jax.jit(lambda x: x * 0.5)
            short, long = half(state.obs["state"]), half(state.obs["privileged_state"][3:6])
            return state.replace(obs={"state": short, "privileged_state": long})

    assert not state_is_doubled(Twice())


def test_a_task_and_its_critics_get_what_they_got_before() -> None:
    """The same episode beside one whose program hides the doubling."""

    class Hidden(Robot):
        def _observed(self, state: State, moved: bool = False) -> State:
            state = super()._observed(state)
            return state.replace(obs=jax.tree.map(lambda x: jnp.where(x < jnp.inf, x, 0.0), state.obs))

    once, twice = FlatObservation(Robot()), FlatObservation(Hidden())
    assert (once.observation_size, twice.observation_size) == (7, 10)
    a, b = once.reset(jax.random.key(1)), twice.reset(jax.random.key(1))
    for time, action in enumerate((0.5, -1.0)):
        np.testing.assert_array_equal(a.obs, b.obs[3:])
        np.testing.assert_array_equal(a.obs[: once.actor_observation_size], b.obs[:3])
        a, b = (env.step(state, jnp.full(1, action)) for env, state in ((once, a), (twice, b)))
        assert a.reward == b.reward == action + time, "the task was given its own observation"


def test_rows_of_the_replay_and_networks_are_smaller() -> None:
    trainer = Trainer(make_tiny("env.name=test_doubled:Robot", "replay.capacity=64"))
    state = jax.eval_shape(trainer.init, jax.random.key(0), trainer.hyper())
    row = 2 * 7 + 1 + 3  # and 24 with the state in both observations once more
    assert state.replay.rows.size * 4 == 64 * row * 4
    kernels = {group: jax.tree.leaves(state.agent.params[group])[1].shape for group in ("actor", "critic")}
    assert (kernels["actor"][0], kernels["critic"][1]) == (3, 7 + 1)
