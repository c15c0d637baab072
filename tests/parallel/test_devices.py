"""Shards and seeds on many devices compute what they compute on one; what cannot be shared out is refused by name."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from epochs import epoch
from learners import SETTINGS

from sacbrax.config import Config, ConfigError
from sacbrax.training.memory import predicted_bytes
from sacbrax.training.plan import Plan
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]
TESTS = Path(__file__).parents[1] / "support"


def forced(directory: Path, *arguments: str) -> dict[str, Any]:
    """What forced_devices.py finds on eight devices."""
    command = [sys.executable, "-W", "error", str(TESTS / "forced_devices.py"), str(directory), *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@pytest.mark.slow
def test_eight_devices_compute_what_eight_shards_on_one_do(tmp_path: Path) -> None:
    """Agent, replay, environments, metrics, evaluation; the messages are summed in another order. Runs go on: on the
    same devices bit for bit; on another number of them the shards stay and only sums are ordered anew."""
    found = forced(tmp_path)
    assert found["eight_devices"] < 1e-5
    assert found["copies_differ"] == 0, "parameters, optimizer and normalizer are alike on all devices, to the bit"
    assert found["replay_devices"] == 8
    assert found["episodes"] == [8]
    assert found["resume"]["shape"] == [2]
    assert found["resume"]["bits"]
    assert found["resume"]["log"]
    assert found["resume"]["moved"] < 1e-4


SHARDS = "shards of parallel.devices; the nearest:"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ("devices=9", "parallel.devices: 9, but there are 8"),
        ("devices=3", f"env.num_envs: 16 does not divide by the 3 {SHARDS} 15 or 18"),
        ("devices=4 replay.capacity=258", f"replay.capacity: 258 does not divide by the 4 {SHARDS} 256 or 260"),
        ("devices=4 train.batch_size=15", f"train.batch_size: 15 does not divide by the 4 {SHARDS} 12 or 16"),
        ("devices=4 eval.episodes=7", f"eval.episodes: 7 does not divide by the 4 {SHARDS} 4 or 8"),
        (
            "devices=3 parallel.shards=8",
            "parallel.devices: 3 cannot hold the same number of 8 shards each; choose from 1, 2, 4, 8",
        ),
        (
            "devices=4 parallel.over=seeds train.num_seeds=6",
            "train.num_seeds: 6 does not divide by the 4 devices; the nearest: 4 or 8",
        ),
        (
            "devices=2 parallel.over=seeds parallel.shards=2 train.num_seeds=2",
            "parallel.shards: must be 1 when parallel.over is seeds: an agent is then whole",
        ),
    ],
)
def test_sizes_that_do_not_divide_are_refused_by_name(tiny: Tiny, overrides: str, line: str) -> None:
    sizes = ("env.num_envs=16", "replay.capacity=256", "train.batch_size=16", "eval.episodes=8")
    with pytest.raises(ConfigError) as error:
        Plan.of(tiny(*sizes, *f"parallel.{overrides}".split()), there=range(8))
    assert str(error.value) == line


@pytest.mark.slow
def test_lanes_seeds_and_devices_nest(tmp_path: Path) -> None:
    """And a seed with a device for itself is the solo run, but for the rounding of programs compiled apart."""
    found = forced(tmp_path, "--all")
    assert found["seed_alone"] < 1e-6
    assert found["two_lanes_on_four_devices"] < 1e-5
    assert found["two_seeds_on_four_devices"] < 1e-3  # batched products sum in another order
    assert found["seeds_of_shards"] < 1e-5


def test_shards_learn_what_one_learns(tiny: Tiny) -> None:
    """The probe whose best action is 0.5, by four shards, to the tolerance of test_learning."""
    config = tiny(*SETTINGS, "env.name=probes:Bandit", "parallel.shards=4")
    plan = Plan.of(config)
    trainer = Trainer(config, plan.shards)
    programs = Programs(trainer, 1, plan)
    hyper = trainer.hyper()
    state, metrics = epoch(config, programs, programs.prefill(programs.init(programs.keys(0)[0], hyper), hyper), hyper)
    seen = state.normalizer(np.stack([np.linspace(-1, 1, 9, dtype=np.float32), np.zeros(9, np.float32)], axis=1))
    np.testing.assert_allclose(trainer.agent.act_deterministic(state.agent, seen), 0.5, atol=0.12)
    # Every environment of every shard counts once, and shards see different starts.
    assert int(metrics["episodes"]) == 16 * config.iterations_per_epoch
    assert state.replay.rows.shape[:2] == (4, 1024)
    assert len(np.unique(state.env.state.obs[..., 0])) == 16


def test_a_device_holds_its_share(tiny: Tiny) -> None:
    config = tiny("parallel.shards=4", "eval.episodes=4")
    whole, share = predicted_bytes(Trainer(tiny())), predicted_bytes(Trainer(config, Plan.of(config).shards))
    assert share["replay"] == whole["replay"] + 3 * 8, "four rings with two counters each"
    assert share["networks"] == whole["networks"]


@pytest.mark.parametrize("value", ["some", "0", "1.5"])
def test_devices_is_a_number_or_all(tiny: Tiny, value: str) -> None:
    assert tiny("parallel.devices=all").parallel.devices == "all"
    with pytest.raises(ConfigError, match=r"^parallel\.devices: "):
        tiny(f"parallel.devices={value}")


def test_one_device_has_no_axis(tiny: Tiny) -> None:
    """The plain program: nothing is mapped, and no key is folded."""
    trainer = Trainer(tiny())
    assert trainer.shards.axes == ()
    jaxpr = jax.make_jaxpr(trainer.init)(jax.random.key(0), trainer.hyper()).jaxpr
    names = {equation.primitive.name for equation in jaxpr.eqns}
    assert "axis_index" not in names
