"""Transitions from before a run: the file that a run gives, what is refused, and minibatches that are half from
it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import resumable

from sacbrax import replay as door
from sacbrax.config import Config, ConfigError
from sacbrax.parallel.shards import Shards
from sacbrax.training import prior
from sacbrax.training.plan import Plan
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]
M = 30


def arrays(**changes: Any) -> dict[str, Any]:
    """Three episodes of ten steps of `probes:Cue`, whose rewards, from 1000 on, no run pays."""
    rng = np.random.default_rng(0)
    made = {
        "observation": np.stack([rng.uniform(-1, 1, M), np.arange(M) % 10], axis=1),
        "action": rng.uniform(-1, 1, (M, 2)),
        "reward": 1000.0 + np.arange(M),
        "discount": np.ones(M),
        "next_observation": np.stack([rng.uniform(-1, 1, M), np.arange(M) % 10 + 1], axis=1),
        "first": np.arange(M) % 10 == 0,
    } | changes
    return {name: array for name, array in made.items() if array is not None}


def write(path: Path, **changes: Any) -> str:
    np.savez(path, **arrays(**changes))
    return f"replay.prior={path}"


def filled(trainer: Trainer) -> Any:
    hyper = trainer.hyper()
    return trainer.with_prior(jax.jit(trainer.prefill)(trainer.init(jax.random.key(0), hyper), hyper))


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_half_of_every_minibatch_is_from_the_file(tiny: Tiny, tmp_path: Path, n_step: int, dtype: str) -> None:
    option = write(tmp_path / "prior.npz")
    trainer = Trainer(tiny(option, "train.updates_per_step=5", f"algorithm.n_step={n_step}", f"replay.dtype={dtype}",
                           "network.normalize_observations=false"))  # fmt: skip
    batches = trainer._minibatches(filled(trainer), jax.random.key(1), trainer.hyper())
    assert batches.reward.shape == (5, 8)
    theirs = np.asarray(batches.reward) > 500
    assert (theirs.sum(axis=1) == 4).all()
    if dtype == "bfloat16":
        return
    file, found = arrays(), jax.tree.map(lambda x: np.asarray(x)[theirs], batches)
    for action, reward, discount, after in zip(
        found.action, found.reward, found.discount, found.next_observation, strict=True
    ):
        start = int(np.abs(file["action"] - action).sum(axis=1).argmin())
        steps = min(n_step, 10 - start % 10)  # an episode's end, and the file's, ends a window
        assert reward == pytest.approx(sum(0.9**k * (1000 + start + k) for k in range(steps)), rel=1e-5)
        assert discount == pytest.approx(0.9**steps)
        np.testing.assert_allclose(after, file["next_observation"][start + steps - 1], rtol=1e-6)


def test_seeds_and_shards_have_their_parts(tiny: Tiny, tmp_path: Path) -> None:
    option = write(tmp_path / "prior.npz", **{k: v[:29] for k, v in arrays().items()})
    config = tiny(option, "train.num_seeds=2", "parallel.shards=2", "eval.episodes=4")
    plan = Plan((jax.devices()[0],), shards=Shards(2, 1))
    trainer = Trainer(config, plan.shards)
    programs = Programs(trainer, 2, plan)
    state = trainer.with_prior(programs.init(programs.keys(0)[0], trainer.hyper()))
    rows, expected = np.asarray(state.prior.rows), trainer.prior_rows
    assert rows.shape == (2, 2, 14, 9)
    assert np.asarray(state.prior.size).tolist() == [[14, 14], [14, 14]]
    for seed in range(2):
        np.testing.assert_array_equal(rows[seed, 0], expected[:14])
        np.testing.assert_array_equal(rows[seed, 1, :, :-1], expected[14:28, :-1])
        assert (rows[seed, 1, 0, -1], expected[14, -1]) == (1, 0), "nothing comes before a part"


def test_a_run_gives_its_transitions_in_their_order(tmp_path: Path) -> None:
    """The ring has wrapped; no row is lost, and each that continues one begins where that one ended. Another run
    trains with them, and goes on bit for bit."""
    resumable.train(tmp_path / "run", "train.total_env_steps=640")
    file = tmp_path / "prior.npz"
    assert door.main(["save", str(tmp_path / "run"), str(file)]) == 0
    with np.load(file) as loaded:
        found = dict(loaded)
    stored = resumable.arrays(tmp_path / "run")["state/replay/rows"]
    assert len(stored) == len(found["reward"]) == 400
    assert set(stored[:, 2:3].ravel().tolist()) == set(found["action"].ravel().tolist())
    np.testing.assert_allclose(np.sort(stored[:, 5]), np.sort(found["reward"]))
    follows = ~found["first"][1:]
    np.testing.assert_array_equal(found["observation"][1:][follows], found["next_observation"][:-1][follows])
    assert 0.85 < follows.mean() < 0.95, "episodes have 12 steps, and environments are one after another"
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    options = (f"replay.prior={file}", "algorithm.normalize_rewards=true", "checkpoint.every_env_steps=80")
    resumable.train(whole, *options, "train.total_env_steps=360")
    resumable.train(halves, *options, "train.total_env_steps=200")
    resumable.train(halves, *options, "train.total_env_steps=360")
    resumable.assert_same_run(whole, halves)
    kept = resumable.arrays(whole)["state/prior/rows"]
    np.testing.assert_array_equal(kept[:, 2], found["action"][:, 0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reward": None}, "has no reward"),
        ({"observation": np.zeros((M, 3))}, r"observation has shape \[30, 3\], this task needs \[30, 2\]"),
        ({"discount": np.ones(M - 1)}, r"discount has shape \[29\]"),
        ({"action": np.full((M, 2), 1.5)}, r"action must lie in \[-1, 1\], its largest size is 1.5"),
        ({"reward": np.full(M, np.nan)}, "reward has numbers that are not finite"),
        ({"reward": np.full(M, 1e300)}, "reward has numbers that are not finite"),
        ({"next_observation": np.full((M, 2), "a")}, "next_observation holds <U1, no numbers"),
        ({"discount": np.full(M, 0.99)}, "discount must be 0 or 1"),
        ({"first": np.full(M, 2)}, "first must be 0 or 1"),
        ({"task": np.array(json.dumps({"name": "hopper"}))}, "is of env.name 'hopper', this run has 'probes:Cue'"),
        ({"task": np.array(json.dumps({"action_gain": 2.0}))}, "is of policy.action_gain 2.0"),
        ({"task": np.array("no JSON")}, "task is no JSON object"),
        ({"reward": np.array([{}] * M, object)}, "is no whole .npz"),
    ],
)
def test_a_file_that_cannot_serve_is_refused(tiny: Tiny, tmp_path: Path, changes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^replay\.prior: .*prior\.npz .*{words}"):
        prior.load(tiny(write(tmp_path / "prior.npz", **changes)), 2, 2)


def test_what_is_no_such_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "prior.npz"
    for content in (None, b"", b"text", b"PK\x03\x04 cut short"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(
            ConfigError,
            match=rf"^replay\.prior: .*prior\.npz {'cannot be read: No such' if content is None else 'is no whole'}",
        ):
            prior.load(tiny(f"replay.prior={path}"), 2, 2)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))  # an .npy file
    with pytest.raises(ConfigError, match=r"^replay\.prior: .* is no whole \.npz"):
        prior.load(tiny(f"replay.prior={path}"), 2, 2)
    with pytest.raises(ConfigError, match=r"^train\.batch_size: must be even .* got 7"):
        Trainer(tiny(write(path), "train.batch_size=7"))


def test_the_door_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["save", str(tmp_path), str(tmp_path / "x.npz")]) == 2
    assert "has no checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "x.npz").exists()
    assert door.main(["save", str(tmp_path), str(tmp_path / "x.txt")]) == 2
