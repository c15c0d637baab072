"""Periodic resets: what begins anew, what stays, and that a run goes on bit for bit around one."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
import resumable

from sacbrax.config import Config
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("name", ["sac_v1", "sac_v2"])
def test_the_agent_begins_anew_and_nothing_else(tiny: Tiny, name: str, share: float) -> None:
    trainer = Trainer(tiny(f"algorithm.name={name}", f"train.reset_share={share}"))
    hyper = trainer.hyper()
    state = trainer.init(jax.random.key(0), hyper)
    learnt = state.agent.replace(
        params=jax.tree.map(lambda p: p + 1.0, state.agent.params),
        target=jax.tree.map(lambda p: p - 1.0, state.agent.target),
        optimizer=jax.tree.map(lambda m: m + 3, state.agent.optimizer),
        gradient_steps=np.int32(70),
    )
    state = state.replace(agent=learnt, iteration=np.int32(9))
    after = jax.jit(trainer.reset)(state, hyper)
    for tree in ("replay", "env", "normalizer", "iteration"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, tree), getattr(state, tree))
    assert int(after.agent.gradient_steps) == 70
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(after.agent.optimizer))
    key = jax.random.split(jax.random.fold_in(state.key, 9), 7)[6]
    fresh = trainer.agent.init(key, hyper)
    mixed = lambda found, new, old: np.testing.assert_allclose(  # noqa: E731
        found, (1 - share) * old + share * new, rtol=1e-5, atol=1e-6
    )
    jax.tree.map(mixed, after.agent.params, fresh.params, learnt.params)
    jax.tree.map(mixed, after.agent.target, fresh.target, learnt.target)


def test_a_run_with_resets_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped and saved right where a reset is due; seeds begin anew each by itself."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    options = ("train.reset_interval=25", "train.num_seeds=2", "checkpoint.every_env_steps=100")
    resumable.train(whole, *options, "train.total_env_steps=400", "eval.every_env_steps=100")
    monkeypatch.setattr("sacbrax.run.pace.CALL_SECONDS", 0.0)
    resumable.train(halves, *options, "train.total_env_steps=240", "eval.every_env_steps=100")
    assert (resumable.arrays(halves)["state/iteration"] == 10 + 50).all()
    assert (resumable.arrays(halves)["state/agent/optimizer/count"] == 25).all()
    resumable.train(halves, *options, "train.total_env_steps=400", "eval.every_env_steps=100")
    resumable.assert_same_run(whole, halves)
    found = resumable.arrays(whole)
    assert (found["state/agent/gradient_steps"] == 100).all()
    assert (found["state/agent/optimizer/count"] == 25).all(), "the reset that is due at the end does not come"
    kernel = found["state/agent/params/actor/params/Dense_0/kernel"]
    assert (kernel[0] != kernel[1]).all()


def test_resets_come_after_whole_rounds(tiny: Tiny) -> None:
    assert tiny().iterations_per_reset is None
    assert tiny("train.reset_interval=10").iterations_per_reset == 5
    assert tiny("train.reset_interval=1").iterations_per_reset == 1
    assert (
        tiny("train.reset_interval=13", "algorithm.policy_delay=4", "train.update_interval=3").iterations_per_reset
        == 18
    )
