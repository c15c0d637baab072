"""Trainer: one compiled scan per epoch, exact exploration, donation, determinism, seeds side by side."""

import collections
import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from epochs import epoch
from jaxprs import equations

from sacbrax import config as config_lib
from sacbrax.config import Config
from sacbrax.run import loop
from sacbrax.training import memory
from sacbrax.training.memory import predicted_bytes
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]


def test_each_function_is_traced_once_in_a_run(tiny: Tiny, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: collections.Counter[str] = collections.Counter()

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(Trainer, name)

        def wrapper(self: Trainer, *args: Any) -> Any:
            calls[name] += 1
            return original(self, *args)

        return wrapper

    names = ("init", "prefill", "advance", "train_step", "evaluate")
    for name in names:
        monkeypatch.setattr(Trainer, name, counted(name))
    predicted = mock.Mock(return_value=dict.fromkeys(memory.STATE, 0))  # it traces `init` for its shapes alone
    monkeypatch.setattr(memory, "predicted_bytes", predicted)
    result = loop.run(tiny(f"run.dir={tmp_path / 'run'}"), quiet=True)
    assert len(result.metrics) == 3, "two epochs, so a second trace would show"
    assert calls == dict.fromkeys(names, 1)
    predicted.assert_called_once()


def test_hyperparameters_do_not_recompile(tiny: Tiny) -> None:
    config = tiny()
    trainer = Trainer(config)
    programs = Programs(trainer)
    key, _ = programs.keys(0)
    hyper = trainer.hyper()
    state = programs.prefill(programs.init(key, hyper), hyper)
    state, _ = epoch(config, programs, state, hyper)
    changed = Trainer(tiny("algorithm.learning_rate=0.1", "algorithm.gamma=0.5", "algorithm.tau=0.5")).hyper()
    assert float(changed["learning_rate"]) != float(hyper["learning_rate"])
    epoch(config, programs, state, changed)
    assert programs.advance._cache_size() == 1


@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2"])
def test_the_epoch_is_one_scan_without_callbacks(tiny: Tiny, algorithm: str) -> None:
    config = tiny(f"algorithm.name={algorithm}")
    trainer = Trainer(config)
    state, hyper = jax.eval_shape(trainer.init, jax.random.key(0), trainer.hyper()), trainer.hyper()
    jaxpr = jax.make_jaxpr(trainer.prefill)(state, hyper).jaxpr
    scans = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
    assert [scan.params["length"] for scan in scans] == [config.exploration_iterations]
    assert_stays_on_the_device(jaxpr)
    # One loop of a length that the host chooses at each call.
    jaxpr = jax.make_jaxpr(trainer.advance)(state, trainer.zero_sums(state), hyper, np.int32(3)).jaxpr
    assert [equation.primitive.name for equation in jaxpr.eqns].count("while") == 1
    assert_stays_on_the_device(jaxpr)


def assert_stays_on_the_device(jaxpr: Any) -> None:
    names = {equation.primitive.name for equation in equations(jaxpr)}
    assert "dynamic_update_slice" in names, "the walk reaches the replay"
    assert not [name for name in names if any(word in name for word in ("callback", "feed", "print"))]


def test_the_state_is_donated(tiny: Tiny) -> None:
    trainer = Trainer(tiny())
    programs = Programs(trainer)
    key, _ = programs.keys(0)
    empty = programs.init(key, trainer.hyper())
    filled = programs.prefill(empty, trainer.hyper())
    assert empty.replay.rows.is_deleted()
    pointer = filled.replay.rows.unsafe_buffer_pointer()
    trained, _ = epoch(trainer.config, programs, filled, trainer.hyper())
    assert filled.replay.rows.is_deleted()
    assert trained.replay.rows.unsafe_buffer_pointer() == pointer, "the ring stays where it is"


def test_exploration_counts_exact_env_steps(tiny: Tiny) -> None:
    trainer = Trainer(tiny("train.exploration_env_steps=10"))
    own = 0.123
    trainer.agent.act = lambda agent, observation, key: jnp.full((observation.shape[0], 2), own)
    state = jax.jit(trainer.prefill)(trainer.init(jax.random.key(0), trainer.hyper()), trainer.hyper())
    assert int(state.iteration) == 3
    assert int(state.replay.size) == 12
    actions = np.asarray(state.replay.rows[:12, 2:4])
    np.testing.assert_array_equal((actions == np.float32(own)).all(axis=1), [False] * 10 + [True] * 2)
    assert len(np.unique(actions[:10])) == 20, "every exploring action is drawn anew"
    assert np.abs(actions[:10]).max() <= 1
    assert actions[:10].min() < -0.3 < 0.3 < actions[:10].max()


def test_exploration_is_uniform_over_all_actions(tiny: Tiny) -> None:
    """Against the uniform's distribution function, each coordinate; the two are not correlated, nor are neighbours."""
    trainer = Trainer(
        tiny(
            "env.num_envs=50", "train.exploration_env_steps=2000", "replay.capacity=2000", "train.total_env_steps=3000"
        )
    )
    state = jax.jit(trainer.prefill)(trainer.init(jax.random.key(0), trainer.hyper()), trainer.hyper())
    actions = np.asarray(state.replay.rows[:, 2:4])
    assert len(actions) == int(state.replay.size) == 2000
    for column in actions.T:
        distance = np.abs((np.sort(column) + 1) / 2 - (np.arange(2000) + 0.5) / 2000).max()
        assert distance < 1.63 / np.sqrt(2000), "Kolmogorov and Smirnov's bound at 1 %"
    for one, two in (
        (actions[:, 0], actions[:, 1]),
        (actions[1:, 0], actions[:-1, 0]),
        (actions[50:, 0], actions[:-50, 0]),
    ):
        assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(2000)


def test_counters_after_an_epoch(tiny: Tiny) -> None:
    config = tiny()
    trainer = Trainer(config)
    state, metrics = run_epochs(trainer, 1)
    assert int(state.iteration) == config.exploration_iterations + config.iterations_per_epoch
    assert int(state.agent.gradient_steps) == config.iterations_per_epoch * config.train.updates_per_step
    assert int(state.replay.size) == 14 * 4
    assert int(state.normalizer.steps) == 14
    # Episodes of 5 steps pay 0 + 1 + 2 + 3 + 4.
    assert float(metrics["episode_return"]) == 10
    assert float(metrics["faults"]) == 0


def test_updates_at_every_third_vector_step(tiny: Tiny) -> None:
    """The same as three vector steps one by one, then the updates of the third."""
    options = ("train.update_interval=3", "algorithm.reward_centering=0.01")
    trainer = Trainer(tiny(*options))
    hyper = trainer.hyper()
    state = jax.jit(trainer.prefill)(trainer.init(jax.random.key(0), trainer.hyper()), hyper)

    assert_equal = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)

    def by_hand(state: Any) -> Any:
        sums: collections.Counter[str] = collections.Counter()
        for last in (False, False, True):
            agent = state.agent
            state, metrics = trainer.train_step(state, hyper)
            state = state if last else state.replace(agent=agent)
            physics = ("steps", "reward_sum", "faults")
            sums.update({name: x for name, x in metrics.values.items() if last or name in physics})
        return state, dict(sums)

    expected, metrics = jax.jit(by_hand)(state)
    found, sums = jax.jit(trainer.advance)(state, trainer.zero_sums(state), hyper, 1)
    assert (int(found.iteration) - int(state.iteration), int(found.agent.gradient_steps)) == (3, 2)
    for ours, theirs in zip(*(jax.tree.leaves(s.replace(key=None)) for s in (found, expected)), strict=True):
        assert_equal(ours, theirs)
    for name in ("steps", "reward_sum", "critic_loss", "entropy", "applied_updates"):
        assert_equal(sums[name], metrics[name])
    assert (int(sums["steps"]), int(sums["applied_updates"])) == (12, 2)


def test_a_run_with_an_update_interval_has_whole_rounds(tiny: Tiny) -> None:
    config = tiny("train.update_interval=4", "eval.every_env_steps=40", "checkpoint.every_env_steps=20")
    # 10 vector steps between evaluations are 2 or 3 rounds; 20 steps after exploration are 5.
    assert (config.iterations_per_epoch, config.num_epochs, config.iterations_per_checkpoint) == (8, 3, 4)
    assert config.gradient_steps(config.total_iterations - config.exploration_iterations) == 6 * 2
    whole = tiny("train.update_interval=3", "eval.every_env_steps=1e9")
    assert (whole.iterations_per_epoch, whole.num_epochs) == (21, 1)
    state, _ = run_epochs(Trainer(tiny("train.update_interval=4", "train.num_seeds=2")), 1)
    assert np.asarray(state.agent.gradient_steps).tolist() == [4, 4]
    assert np.asarray(state.iteration).tolist() == [12, 12]


def test_faults_never_reach_the_replay_and_are_counted(tiny: Tiny) -> None:
    trainer = Trainer(tiny("env.kwargs={nan_at: 3, nan_below: 0.0}"))
    state, metrics = run_epochs(trainer, 2)
    assert float(metrics["faults"]) > 0
    assert float(metrics["reward_mean"]) >= 0
    state = state.replace(key=jnp.zeros(()))
    for leaf in jax.tree.leaves((state, {k: v for k, v in metrics.items() if k != "episode_return"})):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize(("fault", "value"), [("obs", 1e20), ("reward", 1e38)])
def test_absurd_numbers_spoil_their_minibatches_alone(tiny: Tiny, fault: str, value: float) -> None:
    kwargs = f"env.kwargs={{nan_at: 3, nan_below: -0.9, fault: {fault}, value: {value}}}"
    trainer = Trainer(tiny(kwargs, "algorithm.reward_centering=0.01"))
    programs, hyper = Programs(trainer), trainer.hyper()
    state = programs.prefill(programs.init(programs.keys(0)[0], hyper), hyper)
    state, sums = programs.advance(state, programs.zero_sums(state), hyper, np.int32(200))
    metrics = sums.averages()
    # Of 160 episodes of 5 steps one in twenty has one such number, and a minibatch has 8 windows of 2 rows.
    assert 1 < float(metrics["bounded"]) < 40
    assert float(metrics["faults"]) == 0
    assert float(metrics["skipped_updates"]) < 100, "of 400"
    assert 1 < float(state.normalizer.reward_mean) < 3, "it is 2"
    assert np.all(np.asarray(state.normalizer.variance) < 50), "they would be 1/3 and 2"


def run_epochs(trainer: Trainer, epochs: int, seed: int = 0) -> tuple[Any, dict[str, np.ndarray]]:
    programs = Programs(trainer, trainer.config.train.num_seeds)
    hyper = trainer.hyper()
    state = programs.prefill(programs.init(programs.keys(seed)[0], hyper), hyper)
    for _ in range(epochs):
        state, metrics = epoch(trainer.config, programs, state, hyper)
    return state, metrics


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2"])
def test_a_seed_among_others_equals_the_solo_run(tiny: Tiny, algorithm: str) -> None:
    """Relative tolerance 1e-4: batched products sum in another order, and 40 updates carry that on."""
    overrides = (f"algorithm.name={algorithm}", "algorithm.reward_centering=0.01")
    together, metrics = run_epochs(Trainer(tiny("train.num_seeds=2", *overrides)), 2)
    for i in range(2):
        solo, solo_metrics = run_epochs(Trainer(tiny(*overrides)), 2, seed=i)
        for a, b in zip(jax.tree.leaves(together.agent), jax.tree.leaves(solo.agent), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(together.replay.rows[i], solo.replay.rows, rtol=1e-4, atol=1e-5)
        for name, value in solo_metrics.items():
            np.testing.assert_allclose(metrics[name][i], value, rtol=1e-3, atol=1e-4)


def test_a_seed_among_others_equals_the_solo_run_bit_for_bit_until_it_learns(tiny: Tiny) -> None:
    """Initialization, exploration, the rows that are sampled and the first gradients, which Adam's moments keep, are
    the same bits. Later the last bit of a parameter's step may differ: XLA fuses it with other neighbours."""
    together = Programs(Trainer(tiny("train.num_seeds=3")), 3)
    hyper = Trainer(tiny()).hyper()
    state = together.init(together.keys(5)[0], hyper)
    explored = jax.device_get(together.prefill(state, hyper).replace(key=None))
    state = together.prefill(together.init(together.keys(5)[0], hyper), hyper)
    learnt = together.advance(state, together.zero_sums(state), hyper, np.int32(1))[0]
    solo = Programs(Trainer(tiny()))
    for i in range(3):
        own = solo.prefill(solo.init(solo.keys(5 + i)[0], hyper), hyper)
        for a, b in zip(jax.tree.leaves(explored), jax.tree.leaves(own.replace(key=None)), strict=True):
            np.testing.assert_array_equal(a[i], b)
        own = solo.advance(own, solo.zero_sums(own), hyper, np.int32(1))[0]
        np.testing.assert_array_equal(learnt.replay.rows[i], own.replay.rows)
        np.testing.assert_array_equal(learnt.env.state.obs[i], own.env.state.obs)


def test_seeds_differ(tiny: Tiny) -> None:
    state, _ = run_epochs(Trainer(tiny("train.num_seeds=2")), 1)
    kernel = jax.tree.leaves(state.agent.params["actor"])[1]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01
    assert (state.replay.rows[0, :, 0] != state.replay.rows[1, :, 0]).all(where=state.replay.rows[0, :, 0] != 0)


def test_predicted_bytes_are_the_bytes(tiny: Tiny) -> None:
    trainer = Trainer(tiny())
    parts = predicted_bytes(trainer, num_seeds=3)
    assert parts["replay"] == 3 * (64 * (2 * 2 + 2 + 3) * 4 + 2 * 4)
    state = jax.eval_shape(trainer.init, jax.random.key(0), trainer.hyper())
    networks = sum(leaf.size * 4 for leaf in jax.tree.leaves(state.agent))
    assert parts["networks"] == 3 * networks


def test_reward_centering_changes_what_is_learnt_from(tiny: Tiny) -> None:
    trainer = Trainer(tiny("algorithm.reward_centering=0.01", "algorithm.n_step=1"))
    state, _ = run_epochs(trainer, 1)
    centred = trainer._sample(state, jax.random.key(0), 50, trainer.hyper())
    plain = Trainer(tiny("algorithm.n_step=1"))._sample(state, jax.random.key(0), 50, trainer.hyper())
    assert float(state.normalizer.reward_mean) > 1
    np.testing.assert_allclose(centred.reward, plain.reward - state.normalizer.reward_mean, rtol=1e-5)
    assert np.abs(np.asarray(plain.observation)).max() <= 10
    rows = np.asarray(state.replay.rows[:56, 1])
    assert rows.max() == 4
    assert np.asarray(plain.observation)[:, 1].max() < 2.5, "networks see normalized observations"


def test_a_hundred_million_transitions_fit_an_h200_beside_65536_environments() -> None:
    """From shapes alone; 141 GB, of which a tenth is left to programs and minibatches."""
    overrides = ["env.num_envs=65536", "replay.capacity=100_000_000", "train.total_env_steps=200_000_000"]
    parts = predicted_bytes(Trainer(config_lib.load("swimmer", overrides)))
    assert parts["replay"] == pytest.approx(100e6 * (2 * 8 + 2 + 3) * 4, rel=1e-6)
    assert sum(parts.values()) < 0.9 * 141e9
