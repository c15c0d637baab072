"""A run that stops and goes on is the run that never stopped, to the last bit; nothing else may change on the way."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from logs import learning
from resumable import arrays, assert_same_run, configure, newest, train

from sacbrax import config
from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.checkpoint import manifest, state_arrays
from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError
from sacbrax.run import loop
from sacbrax.run.resume import Store
from sacbrax.train import main

BATCH_NORM = ("network.critic_batch_norm=renorm", "network.actor_batch_norm=batch")


@pytest.mark.parametrize(("algorithm", "more"), [("sac_v1", ()), ("sac_v2", ()), ("sac_v2", BATCH_NORM)])
def test_n_and_n_is_2n_bit_for_bit(tmp_path: Path, algorithm: str, more: tuple[str, ...]) -> None:
    """440 = half the steps: parameters, optimizer, replay, normalizer, environments, keys and every logged number."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    overrides = (f"algorithm.name={algorithm}", "checkpoint.every_env_steps=400", *more)
    train(whole, *overrides)
    train(halves, *overrides, "train.total_env_steps=440")
    assert len(learning(halves)) == 6
    result = train(halves, *overrides)
    assert_same_run(whole, halves)
    assert len(result.metrics) == len(learning(whole)) == 11
    assert arrays(halves)["state/replay/size"] == 400  # the ring has wrapped


def test_several_seeds_resume(tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    overrides = ("train.num_seeds=2", "train.total_env_steps=440", "checkpoint.every_env_steps=400")
    train(whole, *overrides)
    train(halves, *overrides, "train.total_env_steps=200")
    train(halves, *overrides)
    assert_same_run(whole, halves)


def test_seconds_are_those_of_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Store.save
    with monkeypatch.context() as patch:
        patch.setattr(loop, "check_compiled", lambda *_: time.sleep(0.2))
        patch.setattr(Store, "save", lambda *arguments: (time.sleep(0.2), save(*arguments)))
        first = train(tmp_path, "train.total_env_steps=120").summary
    whole = train(tmp_path, "train.total_env_steps=200").summary
    assert whole["compile_seconds"] > first["compile_seconds"] >= 0.2
    assert whole["checkpoint_seconds"] > 0.2, (
        "all but the last save of the part before, whose own seconds it cannot hold"
    )
    assert whole["train_seconds"] > first["train_seconds"]
    assert whole["wall_seconds"] > sum(whole[f"{what}_seconds"] for what in ("compile", "checkpoint", "train"))


def test_the_pool_of_starts_is_another_after_every_evaluation(tmp_path: Path) -> None:
    """Also where a run stops at one and goes on."""
    whole, halves, pool = tmp_path / "whole", tmp_path / "halves", "state/env/pool/obs"
    overrides = ("env.reset_pool=6", "checkpoint.every_env_steps=400")
    train(whole, *overrides, "train.total_env_steps=280")
    train(halves, *overrides, "train.total_env_steps=120")
    first = arrays(halves)[pool]
    train(halves, *overrides, "train.total_env_steps=200")
    second = arrays(halves)[pool]
    train(halves, *overrides, "train.total_env_steps=280")
    assert_same_run(whole, halves)
    starts = np.concatenate([x[:, 0] for x in (first, second, arrays(halves)[pool])])
    assert len(np.unique(starts)) == 18


def test_a_curriculum_goes_on_where_it_was(tmp_path: Path) -> None:
    """Also from a checkpoint amid two evaluations."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    task = ("env.name=probes:Weighed", "env.randomize=probes:weights_up_to", "env.curriculum=probes:heavier")
    overrides = (*task, "algorithm.reward_centering=0", "env.reset_pool=3", "checkpoint.every_env_steps=60")
    train(whole, *overrides, "train.total_env_steps=280")
    train(halves, *overrides, "train.total_env_steps=200")
    train(halves, *overrides, "train.total_env_steps=280")
    assert_same_run(whole, halves)
    assert [row["curriculum/most"] for row in learning(halves)] == [1.0, 2.0, 4.0, 8.0]


def test_an_epoch_in_many_calls_is_an_epoch_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of any length, and checkpoints amid epochs, change no bit and no logged number."""
    plain, cut = tmp_path / "plain", tmp_path / "cut"
    train(plain, "train.total_env_steps=280")
    monkeypatch.setattr("sacbrax.run.pace.CALL_SECONDS", 0.0)  # one vector step per call after the first
    train(cut, "train.total_env_steps=280", "checkpoint.every_env_steps=60")
    assert_same_run(plain, cut)


@pytest.mark.parametrize(("interval", "policy_delay"), [(3, 1), (1, 3)])
def test_a_run_with_rounds_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: int, policy_delay: int
) -> None:
    """Cut into single rounds and stopped where they do not divide what is asked for."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    rounds = (f"train.update_interval={interval}", f"algorithm.policy_delay={policy_delay}")
    overrides = (*rounds, "eval.every_env_steps=100", "checkpoint.every_env_steps=50")
    train(whole, *overrides, "train.total_env_steps=440")
    monkeypatch.setattr("sacbrax.run.pace.CALL_SECONDS", 0.0)
    train(halves, *overrides, "train.total_env_steps=230")
    train(halves, *overrides, "train.total_env_steps=440")
    assert_same_run(whole, halves)
    state, last = arrays(whole), learning(whole)[-1]
    assert state["state/agent/gradient_steps"] == last["gradient_steps"] == (state["state/iteration"] - 10) / interval
    assert last["env_steps"] == 4 * state["state/iteration"] >= 440


def test_names_of_any_length_are_in_order(tmp_path: Path) -> None:
    steps = [(999_999_999_999, 7), (10**12, 8), (10**12, 10**6), (3 * 10**13, 9)]
    expected = [checkpoint_files.checkpoint_name(*each) for each in steps]
    for name in [*expected, ".writing-1", "12-3", "000000000001-000001.damaged"]:
        (tmp_path / name).mkdir()
    assert checkpoint_files.names(tmp_path) == expected


def test_replay_is_stored_up_to_its_fill(tmp_path: Path) -> None:
    train(tmp_path / "run", "train.total_env_steps=120", "replay.capacity=100000")
    stored = arrays(tmp_path / "run")
    assert stored[state_arrays.ROWS].shape[0] == int(stored["state/replay/size"]) == 120
    assert sum(file.stat().st_size for file in newest(tmp_path / "run").rglob("*") if file.is_file()) < 200_000


def test_snapshot_is_a_copy_and_restores_every_kind_of_leaf() -> None:
    tree = {
        "state": {
            "replay": {"rows": jnp.arange(12.0).reshape(6, 2), "size": jnp.int32(4)},
            "key": jax.random.key(3),
            "keys": jax.random.split(jax.random.key(1, impl="rbg"), 2),
            "flag": jnp.array([True, False]),
            "half": jnp.ones(3, jnp.bfloat16),
            "nothing": jnp.zeros((0, 4)),
        }
    }
    taken = state_arrays.take(tree)
    assert {name: (a.shape, a.dtype.name) for name, a in taken.items()} == state_arrays.shapes(tree, 4)
    for name in ("flag", "half", "replay/rows", "replay/size"):  # on a CPU a view of the device's buffer is possible
        leaf: Any = tree["state"]
        for part in name.split("/"):
            leaf = leaf[part]
        assert not np.shares_memory(taken[f"state/{name}"], np.asarray(leaf)), name
    back = state_arrays.put(taken, jax.eval_shape(lambda: tree))
    expected = tree["state"] | {"replay": {"rows": tree["state"]["replay"]["rows"].at[4:].set(0), "size": jnp.int32(4)}}
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(_plain(a), _plain(b)), back["state"], expected)
    assert str(jax.random.key_impl(back["state"]["keys"])) == str(jax.random.key_impl(tree["state"]["keys"]))


@pytest.mark.parametrize("fill", [1, 5, 6, 7, 10])
def test_replay_travels_in_slices(fill: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = jnp.arange(40.0).reshape(2, 10, 2)
    monkeypatch.setattr(state_arrays, "SLICE_BYTES", 3 * 2 * 2 * 4)  # three rows
    np.testing.assert_array_equal(state_arrays._first_rows(rows, fill), np.asarray(rows)[:, :fill])


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 120 steps; `copied` has one to change."""
    directory = tmp_path_factory.mktemp("short") / "run"
    train(directory, "train.total_env_steps=120")
    return directory


@pytest.fixture
def copied(short: Path, tmp_path: Path) -> Path:
    return shutil.copytree(short, tmp_path / "run")


def test_only_harmless_keys_may_change(copied: Path) -> None:
    directory = copied
    before = learning(directory)
    for override in ("train.seed=1", "algorithm.learning_rate=0.1", "env.kwargs={bad_above: 3}", "replay.capacity=500"):
        with pytest.raises(ConfigError, match=f"^{override.split('=')[0]}: .* but the run in run.dir has"):
            train(directory, override)
    assert learning(directory) == before
    train(directory, "train.total_env_steps=200", "eval.every_env_steps=40", "checkpoint.keep=1")
    assert [row["env_steps"] for row in learning(directory)] == [40, 120, 160, 200]
    assert len(checkpoint_files.names(directory / "checkpoints")) == 1
    assert config.load(directory / "config.yaml").eval.every_env_steps == 40


def test_keeps_the_newest(tmp_path: Path) -> None:
    train(tmp_path / "run", "checkpoint.keep=2", "train.total_env_steps=360")
    assert checkpoint_files.names(tmp_path / "run/checkpoints") == ["000000000280-000004", "000000000360-000005"]


def test_resume_door(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = copied
    assert main(["--resume", str(directory.parent), "--quiet"]) == 2
    assert "holds no run" in capsys.readouterr().err
    # The class of an environment that a run directory names is imported only if the user names it too.
    assert main(["--resume", str(directory), "--quiet", "train.total_env_steps=200"]) == 2
    assert "env.name=resumable:Drift to allow it" in capsys.readouterr().err
    door = ["--resume", str(directory), "--quiet", "train.total_env_steps=200", "env.name=resumable:Drift"]
    assert main(door) == 0
    assert [row["env_steps"] for row in learning(directory)] == [40, 120, 200]


def test_a_run_without_checkpoints_is_not_overwritten(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"env_steps": 1}\n{"env_steps": 2}\n')
    (tmp_path / "config.yaml").write_text(configure(tmp_path).to_yaml())
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunError, match="2 evaluations but no checkpoint"):
        train(tmp_path)
    assert log.read_text().count("\n") == 2


def test_log_files_are_made_anew_from_the_checkpoint(copied: Path) -> None:
    """Lines after the checkpoint, half lines and lost files: all are put right."""
    directory = copied
    log, table = directory / "metrics.jsonl", directory / "progress.csv"
    text, rows = log.read_text(), table.read_text()
    log.write_text(text + text.splitlines()[-1] + '\n{"env_st')
    table.unlink()
    train(directory, "train.total_env_steps=120")
    assert (log.read_text(), table.read_text()) == (text, rows)


def test_one_number_of_the_notes_that_is_changed_is_damage(copied: Path) -> None:
    """Readable and of the right form: the checksum alone tells."""
    file = newest(copied) / manifest.NAME
    text = file.read_text()
    changed = text.replace('iteration\\": 30', 'iteration\\": 31')
    assert changed != text
    file.write_text(changed)
    with pytest.raises(manifest.DamagedError, match="another checksum"):
        manifest.read(newest(copied))


def test_notes_are_plain_json(short: Path) -> None:
    envelope = json.loads((newest(short) / "manifest.json").read_text())
    body = json.loads(envelope["body"])
    assert body["format_version"] == manifest.FORMAT_VERSION
    assert body["notes"]["iteration"] == 30


def _plain(leaf: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
