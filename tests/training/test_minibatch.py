"""What an update is given, against a simulator written apart: from acting through environments, statistics, replay and
sampling to the minibatch, with terminations, time limits and faults at every offset of a window."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from simulator import Simulator, Window

from sacbrax.config import Config
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]
LENGTH, GAMMA, STEPS = 6, 0.9, 120
CASES = {
    "one step": {"n_step": 1, "capacity": 50, "num_envs": 4, "action_gain": 1.0, "reward_clip": 1.0},
    "three steps": {"n_step": 3, "capacity": 48, "num_envs": 4, "action_gain": 2.0, "reward_clip": 100.0},
    "five steps": {"n_step": 5, "capacity": 50, "num_envs": 3, "action_gain": 1.5, "reward_clip": 2.0},
}


def policy(observation: Any) -> Any:
    """Deterministic and beyond the limits: [N, 2] -> [N, 2]; of NumPy and JAX alike."""
    return 1.3 * (jnp if isinstance(observation, jax.Array) else np).sin(3.0 * observation)


def as_rows(observation: Any, action: Any, reward: Any, discount: Any, next_observation: Any) -> np.ndarray:
    """Transitions side by side, [B, 8]."""
    columns = (observation, action, np.reshape(reward, (-1, 1)), np.reshape(discount, (-1, 1)), next_observation)
    return np.concatenate([np.asarray(column) for column in columns], axis=1)


def expected(windows: list[Window], normalize: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    fields = {name: np.stack([getattr(window, name) for window in windows]) for name in Window.TRANSITION}
    seen = {name: normalize(fields[name]) for name in ("observation", "next_observation")}
    return as_rows(**fields | seen)


@pytest.mark.parametrize("case", CASES)
def test_minibatches_are_the_simulators(tiny: Tiny, case: str) -> None:
    options = CASES[case]
    trainer = Trainer(
        tiny(
            "env.name=probes:Various",
            f"env.num_envs={options['num_envs']}",
            f"env.episode_length={LENGTH}",
            f"env.reward_clip={options['reward_clip']}",
            f"policy.action_gain={options['action_gain']}",
            f"algorithm.n_step={options['n_step']}",
            f"algorithm.gamma={GAMMA}",
            f"replay.capacity={options['capacity']}",
            "train.batch_size=12",
        )
    )
    batches: list[Any] = []
    update = trainer.agent.update

    def recorded(agent: Any, batch: Any, *others: Any) -> Any:
        jax.debug.callback(batches.append, batch, ordered=True)
        return update(agent, batch, *others)

    trainer.agent.update = recorded
    trainer.agent.act = lambda agent, observation, key: policy(observation)
    step = jax.jit(lambda state: trainer.advance(state, trainer.zero_sums(state), trainer.hyper(), 1)[0])
    state = trainer.init(jax.random.key(5), trainer.hyper())
    ours = Simulator(
        policy,
        np.asarray(state.env.state.obs),
        LENGTH,
        options["capacity"],
        options["action_gain"],
        options["reward_clip"],
    )
    seen: set[tuple[str, int]] = set()
    for _ in range(STEPS):
        state = step(state)
        jax.effects_barrier()
        ours.step(np.asarray(state.env.state.obs))
        np.testing.assert_allclose(state.env.state.obs, ours.observation, atol=1e-6)
        assert int(state.replay.size) == len(ours.rows)
        windows = [ours.window(start, options["n_step"], GAMMA) for start in range(len(ours.rows))]
        assert len(batches) == 2
        wanted = expected(windows, ours.statistics)
        for batch in batches:
            rows = as_rows(**vars(batch))
            fits = np.isclose(rows[:, None], wanted[None], rtol=1e-3, atol=1e-3).all(axis=2)  # [B, windows]
            assert fits.any(axis=1).all(), rows[~fits.any(axis=1)]
            seen |= {(windows[i].end, windows[i].steps) for i in fits.argmax(axis=1)}
        batches.clear()
    assert ours.faults > 10
    assert ours.terminated > 10
    n_step = options["n_step"]
    ends = {("full", n_step), *itertools.product(["terminated"], range(1, n_step + 1))}
    ends |= set(itertools.product(["cut", "newest"], range(1, n_step)))
    assert seen == ends, "every end of a window at every offset"
