"""Far along: counters beyond 2^31 environment steps, and sums in float32 over very many rows. Started near the edge."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soak

from sacbrax.agents.hyperparameters import at
from sacbrax.agents.normalizer import Normalizer
from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.config import Config
from sacbrax.run import metrics_row
from sacbrax.run.progress import Progress
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]
EDGE = 2**31 - 1 - 30  # vector steps; 34 billion env steps of 16 environments
SCHEDULE = "{schedule: linear, values: [1, 3], boundaries: [1000]}"


def moved_to_the_edge(state: Any, updates: int) -> Any:
    """The same state as if so many vector steps and updates had been made; no two counters may share a buffer."""
    optimizer = state.agent.optimizer._replace(count=jnp.int32(updates))
    agent = state.agent.replace(gradient_steps=jnp.int32(updates), optimizer=optimizer)
    normalizer = state.normalizer.replace(steps=jnp.int32(EDGE))
    return state.replace(agent=agent, normalizer=normalizer, iteration=jnp.int32(EDGE))


def copies(tree: Any) -> Any:
    return jax.tree.map(np.array, tree)


@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2"])
def test_training_goes_on_at_the_edge_of_its_counters(tiny: Tiny, algorithm: str) -> None:
    trainer = Trainer(tiny(f"algorithm.name={algorithm}", f"algorithm.reward_scale={SCHEDULE}", "env.num_envs=16"))
    programs, hyper, updates = Programs(trainer), trainer.hyper(), 2**31 - 1 - 60
    state = programs.prefill(programs.init(programs.keys(0)[0], hyper), hyper)
    state, _ = programs.advance(state, programs.zero_sums(state), hyper, np.int32(100))  # Adam's moments fill
    state = moved_to_the_edge(state, updates)
    assert float(at(hyper, state.agent.gradient_steps)["reward_scale"]) == 3
    before = copies((state.agent.params, state.agent.target, state.normalizer.mean))
    state, sums = programs.advance(state, programs.zero_sums(state), hyper, np.int32(20))
    assert int(state.iteration) == int(state.normalizer.steps) == EDGE + 20
    assert int(state.agent.gradient_steps) == int(state.agent.optimizer.count) == updates + 40
    after = copies((state.agent.params, state.agent.target, state.normalizer.mean))
    for old, new in zip(jax.tree.leaves(before[:2]), jax.tree.leaves(after[:2]), strict=True):
        assert np.isfinite(new).all()
        # 40 updates at a rate of 1e-3; where gradients grow at once, as the rewards do here, Adam makes up to 7 of it.
        assert 0 < np.abs(new - old).max() < 0.28
    np.testing.assert_allclose(after[2], before[2], atol=1e-6)
    rows = np.asarray(state.replay.rows)  # all of them written at the edge
    assert len(np.unique(rows[:, 2])) == len(rows), "no action of any step is drawn twice"
    averages = jax.device_get(sums).averages()
    assert all(np.isfinite(value).all() for value in averages.values())


def test_the_host_counts_beyond_32_bits(tiny: Tiny) -> None:
    config = tiny("env.num_envs=4096", "replay.capacity=8192", "train.total_env_steps=20_000_000")
    progress = Progress(iteration=EDGE, evaluated=EDGE - 100, epoch_seconds=1.0)
    episodes = {"return": np.ones(3), "length": np.ones(3)}
    row = metrics_row.row(config, progress, episodes, {}, {})
    assert row["env_steps"] == EDGE * 4096 > 2**42
    assert row["gradient_steps"] == (EDGE - config.exploration_iterations) * 2
    assert row["time/env_steps_per_second"] == 100 * 4096
    names = [checkpoint_files.checkpoint_name(steps, 7) for steps in (999, 2**31, 2**33)]
    assert names == sorted(names)
    assert Progress.from_notes(progress.to_notes() | {"rows": []}).iteration == EDGE


def test_running_statistics_stay_right_over_very_many_rows() -> None:
    """Against float64, at a mean a thousand times the spread: 200,000 vector steps of 64 environments at first, then
    from a state that has seen 2^30."""
    rng = np.random.default_rng(0)
    blocks = rng.normal(1000.0, 1.0, (1000, 64, 2)).astype(np.float32)

    @jax.jit
    def many(normalizer: Normalizer, blocks: Any) -> Normalizer:
        def body(normalizer: Normalizer, i: Any) -> tuple[Normalizer, None]:
            block = blocks[i % len(blocks)]
            return normalizer.update(block, block[:, 0], jnp.ones(64, bool), jnp.float32(0.0))[0], None

        return jax.lax.scan(body, normalizer, jnp.arange(200_000))[0]

    normalizer = many(Normalizer.create(2), blocks)
    wanted_mean = blocks.astype(np.float64).mean(axis=(0, 1))
    wanted = blocks.astype(np.float64).var(axis=(0, 1))
    np.testing.assert_allclose(normalizer.mean, wanted_mean, atol=0.01)
    np.testing.assert_allclose(normalizer.variance, wanted, rtol=0.01)
    np.testing.assert_allclose(normalizer.reward_mean, wanted_mean[0], atol=0.01)
    later = many(normalizer.replace(steps=jnp.int32(2**30)), blocks)
    assert int(later.steps) == 2**30 + 200_000
    np.testing.assert_allclose(later.mean, wanted_mean, atol=0.01)
    np.testing.assert_allclose(later.variance, wanted, rtol=0.01)


@pytest.mark.slow
def test_a_minute_of_training_leaks_nothing() -> None:
    """`python -m tests.soak` looks for longer."""
    assert soak.main(["--minutes", "1"]) == 0
