"""Gradient steps in groups: which of them have the policy's part, that the others pay nothing for it, and what is
logged."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxprs import equations

from sacbrax.config import Config, ConfigError
from sacbrax.core.metrics import POLICY_UPDATES
from sacbrax.parallel.shards import Shards
from sacbrax.training import updates
from sacbrax.training.plan import Plan
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]


def moved(one: Any, other: Any) -> bool:
    return any(bool(jnp.any(a != b)) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


class ByHand:
    """Stands in for an agent's update: every call has a number of its own, and says whether the policy took part."""

    def __init__(self, agent: Any):
        self.agent, self.calls = agent, []
        self._update, agent.update = agent.update, self

    def __call__(self, state: Any, batch: Any, hyper: Any, key: Any, policy: bool = True) -> Any:
        state, sums = self._update(state, batch, hyper, key, policy)
        jax.debug.callback(lambda _: self.calls.append(policy), state.gradient_steps, ordered=True)
        return state, sums


@pytest.mark.parametrize(
    ("count", "interval", "delay", "expected"),
    [
        (4, 1, 2, "-p-p" * 2),
        (3, 1, 3, "--p" * 2),
        (1, 1, 2, "-p"),
        (2, 1, 4, "---p"),
        (1, 2, 3, "--p"),
    ],
)
def test_the_last_of_each_group_has_the_policy(
    tiny: Tiny, count: int, interval: int, delay: int, expected: str
) -> None:
    config = tiny(
        f"train.updates_per_step={count}", f"train.update_interval={interval}", f"algorithm.policy_delay={delay}"
    )
    trainer = Trainer(config)
    recorder, hyper = ByHand(trainer.agent), trainer.hyper()
    state = jax.jit(trainer.prefill)(trainer.init(jax.random.key(0), hyper), hyper)
    rounds = 2 if count >= delay else 1
    after, sums = jax.jit(trainer.advance)(state, trainer.zero_sums(state), hyper, rounds)
    jax.effects_barrier()
    assert "".join("p" if policy else "-" for policy in recorder.calls) == expected
    assert config.iterations_per_round == interval * max(1, delay // count)
    assert int(after.agent.gradient_steps) == len(expected) == int(sums["applied_updates"])
    counts = after.agent.optimizer.count
    assert int(counts["actor"]) == int(counts["log_temperature"]) == expected.count("p") == int(sums[POLICY_UPDATES])
    assert int(counts["critic"]) == len(expected)
    averages = jax.device_get(sums).averages()
    assert POLICY_UPDATES not in averages
    assert averages["entropy"] == pytest.approx(float(sums["entropy"]) / expected.count("p"))
    assert averages["critic_loss"] == pytest.approx(float(sums["critic_loss"]) / len(expected))


@pytest.mark.parametrize(("name", "learns"), [("sac_v1", {"critic", "value"}), ("sac_v2", {"critic"})])
def test_without_its_part_the_policy_rests(tiny: Tiny, name: str, learns: set[str]) -> None:
    """Parameters, moments and counts; the metrics are those of what was computed."""
    trainer = Trainer(tiny(f"algorithm.name={name}", "algorithm.policy_delay=2"))
    hyper = trainer.hyper()
    state = jax.jit(trainer.prefill)(trainer.init(jax.random.key(0), hyper), hyper)
    batch = trainer._sample(state, jax.random.key(1), 8, hyper)
    before = state.agent
    after, sums = trainer.agent.update(before, batch, hyper, jax.random.key(2), False)
    for tree in ("params", "optimizer"):
        parts = [getattr(agent, tree) for agent in (before, after)]
        for one, other in zip(*([part] if tree == "params" else list(part) for part in parts), strict=True):
            assert {group for group in one if moved(one[group], other[group])} == learns
    assert not {"actor_loss", "entropy", "temperature"} & sums.values.keys()


def test_a_group_is_its_updates_one_by_one(tiny: Tiny) -> None:
    trainer = Trainer(tiny("train.updates_per_step=3", "algorithm.policy_delay=3"))
    hyper = trainer.hyper()
    state = jax.jit(trainer.prefill)(trainer.init(jax.random.key(0), hyper), hyper)
    own = trainer._minibatches(state, jax.random.key(1), hyper), jax.random.split(jax.random.key(2), 3)
    expected, update = state.agent, jax.jit(trainer.agent.update, static_argnums=4)
    for i, policy in enumerate((False, False, True)):
        batch, key = jax.tree.map(lambda x, i=i: x[i], own)
        expected, _ = update(expected, batch, hyper, key, policy)
    found, _ = jax.jit(lambda agent: updates.in_groups(trainer.agent, agent, own, hyper, 3))(state.agent)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, found, expected)


@pytest.mark.parametrize("count", [1, 4])
def test_side_by_side_agents_and_shards_choose_alike(tiny: Tiny, count: int) -> None:
    """Where a choice differed between them, a loop would go on while any of them wants it, and select."""
    sizes = ("train.num_seeds=2", "parallel.shards=2", "eval.episodes=4")
    config = tiny("algorithm.policy_delay=2", f"train.updates_per_step={count}", *sizes)
    plan = Plan((jax.devices()[0],), shards=Shards(2, 1))
    trainer = Trainer(config, plan.shards)
    programs, hyper = Programs(trainer, 2, plan), trainer.hyper()
    state = jax.eval_shape(programs.init, programs.keys(0)[0], hyper)
    sums = jax.eval_shape(programs.zero_sums, state)
    jaxpr = jax.make_jaxpr(programs.advance)(state, sums, hyper, np.int32(1)).jaxpr
    loops = [equation for equation in equations(jaxpr) if equation.primitive.name == "while"]
    assert len([loop for loop in loops if "dot_general" in str(loop.params["body_jaxpr"])]) == (3 if count == 1 else 1)
    assert not [loop for loop in loops if loop.params["cond_jaxpr"].out_avals[0].shape]


def test_other_delays_are_refused(tiny: Tiny) -> None:
    for count, delay in ((3, 2), (2, 3), (4, 6)):
        with pytest.raises(ConfigError, match=rf"^algorithm\.policy_delay: must divide .* = {count}, .* got {delay}$"):
            tiny(f"train.updates_per_step={count}", f"algorithm.policy_delay={delay}")
