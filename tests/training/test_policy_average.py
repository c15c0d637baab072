"""The average of the policy: its closed form, who has it, when it begins anew, and that a run goes on bit for bit."""

from pathlib import Path

import jax
import numpy as np
import resumable

from sacbrax.agents.agent import AgentState
from sacbrax.policy_file import files
from sacbrax.run import warm_start
from sacbrax.training.trainer import Trainer, TrainState

TAU = 0.25
AVERAGE = f"policy.average_tau={TAU}"


def started(*overrides: str) -> tuple[Trainer, TrainState]:
    trainer = Trainer(resumable.configure(Path("unused"), *overrides))
    return trainer, jax.jit(trainer.prefill)(trainer.init(jax.random.key(0), trainer.hyper()), trainer.hyper())


def test_it_is_the_weighted_sum_of_all_policies() -> None:
    """After k steps: (1 - tau)^k of the first and tau (1 - tau)^(k - i) of the i-th. Learning does not know of it."""
    trainer, state = started(AVERAGE, "train.updates_per_step=2")
    other, plain = started("train.updates_per_step=2")
    step, policies = jax.jit(trainer.train_step), [state.agent.params["actor"]]
    for _ in range(4):
        state, _ = step(state, trainer.hyper())
        policies.append(state.agent.params["actor"])
    weights = [(1 - TAU) ** 4, *(TAU * (1 - TAU) ** (4 - i) for i in range(1, 5))]
    expected = jax.tree.map(
        lambda *p: sum(w * np.asarray(x, float) for w, x in zip(weights, p, strict=True)), *policies
    )
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6), state.policy_average, expected)
    step = jax.jit(other.train_step)
    for _ in range(4):
        plain, _ = step(plain, other.hyper())
    jax.tree.map(np.testing.assert_array_equal, plain.agent, state.agent)


def test_evaluations_are_of_it() -> None:
    trainer, state = started(AVERAGE)
    one, two = state.agent, trainer.agent.init(jax.random.key(7), trainer.hyper())
    evaluate = jax.jit(trainer.evaluate)

    def returns(agent: AgentState, average: AgentState) -> jax.Array:
        shown = state.replace(agent=agent, policy_average=average.params["actor"])
        return evaluate(shown, jax.random.key(1))["return"]

    np.testing.assert_array_equal(returns(one, two), returns(two, two))
    assert np.all(returns(one, two) != returns(two, one))


def test_it_begins_anew_with_the_policy() -> None:
    """Of what a run starts from; and lies in memory of its own, for the state is donated."""
    _, state = started(AVERAGE)
    moved = state.replace(policy_average=jax.tree.map(lambda p: p + 1.0, state.policy_average))
    loaded = {"params": {"actor": jax.tree.map(lambda p: p - 1.0, state.agent.params["actor"])}}
    after = warm_start.apply(moved, loaded)
    jax.tree.map(np.testing.assert_array_equal, after.policy_average, after.agent.params["actor"])
    jax.jit(lambda state: state, donate_argnums=0)(after)


def test_a_run_keeps_it_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    options = (AVERAGE, "train.num_seeds=2", "eval.every_env_steps=100", "checkpoint.snapshots=true")
    resumable.train(whole, *options, "train.total_env_steps=240")
    for total in (140, 240):
        resumable.train(halves, *options, f"train.total_env_steps={total}")
    resumable.assert_same_run(whole, halves)
    found = resumable.arrays(whole)["state/policy_average/params/Dense_0/kernel"]
    for seed, average in enumerate(found):
        with np.load(whole / "checkpoints" / files.SEED.format(seed) / files.SNAPSHOT.format(240)) as file:
            np.testing.assert_array_equal(file["kernel_0"], average)
