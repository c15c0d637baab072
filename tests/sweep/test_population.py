"""Populations that train: what a copy takes over, resumption bit for bit, a rate found that none began with."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from resumable import assert_same_run, environment, newest
from test_sweep_spec import write
from tiny_config import make_tiny

from sacbrax.run.directory import in_directory
from sacbrax.run.loop import run
from sacbrax.sweep import __main__ as door
from sacbrax.sweep import spec
from sacbrax.sweep.pbt import ancestry
from sacbrax.sweep.population import Members, copied
from sacbrax.training.population import Population

BANDIT = {"env.name": "probes:Bandit", "algorithm.n_step": 1}
RATES = {"algorithm.learning_rate": {"log_uniform": ["1e-6", "1e-1"]}}


def some_state(*overrides: str) -> Any:
    """Of four agents, all numbers different."""
    population, generator = Population(make_tiny("train.num_seeds=4", *overrides)), np.random.default_rng(0)

    def fill(shape: Any) -> Any:
        if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(int(generator.integers(99))), shape.shape)
        return jnp.asarray(generator.integers(1, 2**20, shape.shape), shape.dtype)

    return jax.tree.map(fill, jax.eval_shape(population.programs.init, population.train_keys, population.hyper))


@pytest.mark.parametrize("copy", [(), ("optimizer",), ("optimizer", "replay")])
def test_what_a_copy_takes_over(copy: tuple[str, ...]) -> None:
    state = some_state("algorithm.normalize_rewards=true", "policy.average_tau=0.5")
    state = state.replace(agent=state.agent.replace(bad_updates=jnp.asarray([0, 3, 5, 0], jnp.int32)))
    after = copied(state, jnp.asarray([2, 1, 2, 0]), copy)
    sources = np.asarray([2, 1, 2, 0])
    whole, replay = "optimizer" in copy, "replay" in copy
    taken = {"agent.params", "agent.target", "agent.gradient_steps", "normalizer", "policy_average"}
    taken |= {"return_scale.statistics"}
    taken |= {"agent.optimizer"} if whole else set()
    taken |= {"replay", "env", "return_scale.returns"} if replay else set()
    parts = (*taken, "agent.optimizer", "replay", "env", "return_scale.returns", "key", "iteration")
    own = {field.name for field in dataclasses.fields(state)} - {"prior"}  # which all have alike
    assert {name.partition(".")[0] for name in parts} == own, "nothing is forgotten"
    for name in parts:
        before, now = state, after
        for part in name.split("."):
            before, now = getattr(before, part), getattr(now, part)
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(now), strict=True):
            a, b = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (a, b))
            np.testing.assert_array_equal(np.asarray(a)[sources] if name in taken else a, b, err_msg=name)
    np.testing.assert_array_equal(after.agent.bad_updates, [0, 3, 5, 0], "a copy of a stuck agent begins to count anew")


def population(folder: Path, **keys: Any) -> spec.Sweep:
    folder.mkdir(exist_ok=True)
    fixed = BANDIT | {"checkpoint.every_env_steps": 8, "checkpoint.keep": 20, "train.num_seeds": 2}
    return spec.read(write(folder, search="pbt", trials=4, fixed=fixed, vary=RATES, **keys))


def members(sweep: spec.Sweep, directory: Path, total: int, like: Any = None) -> Any:
    settings = sweep.parameters()
    configs = [in_directory(sweep.trial(own | {"train.total_env_steps": total}), directory) for own in settings]
    return Members(configs, settings, sweep, like=like)


@pytest.mark.slow
def test_a_population_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Cut at an evaluation, whose exchange is still to come, and again between two, where the settings are not those
    that the population began with."""
    sweep = population(tmp_path / "sweep", pbt={"quantile": 0.5})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    one = members(sweep, whole, 176)
    result = run(one.config, quiet=True, population=one)
    exchanges = one.exchanges(result.metrics)
    assert len(exchanges) == 4, "the last evaluation's would come before further training"
    assert sum(source != i for each in exchanges[:-1] for i, source in enumerate(each.sources)) > 2

    first = members(sweep, parts, 96, one)
    run(first.config, quiet=True, population=first)
    second = members(sweep, parts, 176, one)
    run(second.config, quiet=True, population=second)
    shutil.rmtree(newest(parts))  # of the end: the one before is between two evaluations
    third = members(sweep, parts, 176, one)
    again = run(third.config, quiet=True, population=third)
    assert len(again.metrics) == len(result.metrics)
    assert_same_run(whole, parts)


@pytest.mark.slow
def test_a_good_rate_is_found_where_all_began_badly(tmp_path: Path) -> None:
    """Adam moves no parameter by more than its rate in an update: 1,500 at 2e-6 could not come from 0 to 0.5."""
    fixed = {"train.total_env_steps": 6_016, "eval.every_env_steps": 400, "eval.episodes": 64}
    fixed |= BANDIT | {"train.updates_per_step": 1}
    pbt = {"quantile": 0.25, "resample": 0.5}
    path = write(tmp_path, search="pbt", trials=8, fixed=fixed, vary=RATES, pbt=pbt)
    sweep = spec.read(path)
    settings = [{"algorithm.learning_rate": rate} for rate in np.geomspace(1e-6, 2e-6, 8).tolist()]
    configs = [in_directory(sweep.trial(own), tmp_path / "run") for own in settings]
    population = Members(configs, settings, sweep)
    result = run(population.config, quiet=True, population=population)
    scores = population.scores(result.metrics)
    assert scores[1].max() < -0.2
    assert scores[-1].max() > -0.05
    exchanges = population.exchanges(result.metrics)
    line = ancestry(exchanges, int(np.argmax(scores[-1])))
    epochs = [settings, *(each.settings for each in exchanges)]
    rates = [each[place]["algorithm.learning_rate"] for each, place in zip(epochs, line, strict=True)]
    assert rates[0] < 1e-5 < 1e-4 < max(rates)


def test_a_population_from_file_to_lineage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vary = RATES | {"algorithm.reward_scale": [1, 2, 4]}
    keys = {"search": "pbt", "trials": 4, "fixed": BANDIT, "vary": vary, "pbt": {"quantile": 0.5, "every": 1}}
    path = str(write(tmp_path, **keys))
    assert door.main([path, "--quiet"]) == 0
    assert "learning_rate" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "sweep" / "trials.jsonl").read_text().splitlines()]
    directory = Path(rows[0]["run"])
    assert [row["status"] for row in rows] == ["done"] * 4
    assert {row["run"] for row in rows} == {str(directory)}
    lines = [json.loads(line) for line in (directory / "lineage.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [line["evaluation"] for line in lines] == list(range(len(metrics) - 1)), "none after the last"
    assert lines[0]["settings"] == [row["parameters"] for row in rows]
    assert lines[-1]["settings"] == [row["settings"] for row in rows]
    for line in lines[1:]:
        assert line["scores"] == [metrics[line["evaluation"]][f"seed_{i}/eval/return_mean"] for i in range(4)]
        assert line["sources"][int(np.argmax(line["scores"]))] == np.argmax(line["scores"])
    assert (directory / "lineage.png").stat().st_size > 5_000
    assert door.main([path, "--quiet", "pbt.perturb=0.5"]) == 2
    assert capsys.readouterr().err.startswith("error: pbt.perturb: 0.5, but the sweep in")


@pytest.mark.slow
def test_two_devices_train_the_population_of_one(tmp_path: Path) -> None:
    """Members spread over two forced devices: the same copies of the same, and the same numbers but for rounding."""
    found = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        keys = {"search": "pbt", "trials": 4, "vary": RATES, "pbt": {"quantile": 0.5, "copy": ["optimizer", "replay"]}}
        command = [sys.executable, "-m", "sacbrax.sweep", str(write(folder, fixed=BANDIT, **keys)), "--quiet"]
        command += [f"parallel.devices={devices}", "parallel.over=seeds"]
        subprocess.run(command, env=environment(), check=True, timeout=500)
        run = folder / "sweep" / "runs" / "trial_0000_to_0003"
        found.append([json.loads(line) for line in (run / "lineage.jsonl").read_text().splitlines()])
    one, two = found
    assert [line["settings"] for line in one] == [line["settings"] for line in two]
    assert any(line["sources"] != [0, 1, 2, 3] for line in two[1:])
    for a, b in zip(one[1:], two[1:], strict=True):
        assert a["sources"] == b["sources"]
        assert a["scores"] == pytest.approx(b["scores"], rel=1e-4, abs=1e-5)


def workers(mark: str) -> list[int]:
    """Processes of Ray that run a program, of the cluster that was started with `mark` in its environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"ray::_in_a_worker" in (place / "cmdline").read_bytes():
                found += [int(place.name)] if mark.encode() in (place / "environ").read_bytes() else []
    return found


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is an extra")
def test_a_lost_worker_costs_the_time_since_its_checkpoint(tmp_path: Path) -> None:
    """Two populations in two processes of a Ray cluster, one of which is killed once it has saved: it is started again,
    goes on from its checkpoint, and ends as if nothing had happened."""
    local, remote = tmp_path / "local", tmp_path / "remote"
    local.mkdir()
    remote.mkdir()
    fixed = BANDIT | {"train.total_env_steps": 20_016, "eval.every_env_steps": 4_000}
    fixed |= {"checkpoint.every_env_steps": 1_000, "checkpoint.keep": 50}
    keys = {"search": "pbt", "trials": 4, "trials_per_program": 2, "vary": RATES, "pbt": {"quantile": 0.5}}
    keys |= {"fixed": fixed, "keep_checkpoints": True}
    sweep = [sys.executable, "-m", "sacbrax.sweep", "--quiet"]  # a process of its own: tests compile in a hurry
    subprocess.run([*sweep, str(write(local, **keys))], env=environment(), check=True, timeout=500)
    command = [*sweep, str(write(remote, **keys)), "executor=ray", "cpus_per_program=1"]
    process = subprocess.Popen(command, env=environment() | {"SACBRAX_TEST": str(tmp_path)})
    deadline = time.monotonic() + 500
    first = remote / "sweep" / "runs" / "trial_0000_to_0001" / "checkpoints"
    while len(list(first.glob("0*"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    saved, killed = newest(first.parent), 0
    for worker in workers(str(tmp_path)):
        with contextlib.suppress(OSError):
            if any(str(first.parent) in os.readlink(file) for file in Path(f"/proc/{worker}/fd").iterdir()):
                os.kill(worker, signal.SIGKILL)
                killed = worker
    assert killed
    assert process.wait(timeout=500) == 0
    assert saved.exists(), "nothing was begun anew"
    one, other = (
        [json.loads(line) for line in (folder / "sweep" / "trials.jsonl").read_text().splitlines()]
        for folder in (local, remote)
    )
    for a, b in zip(one, other, strict=True):
        assert a["status"] == b["status"] == "done"
        assert a["settings"] == b["settings"]
        assert a["by_seed"] == pytest.approx(b["by_seed"], rel=1e-5)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"vary": {"network.hidden_sizes": [[8], [4]]}}, "vary.network.hidden_sizes: with search: pbt only numbers"),
        ({"vary": {"train.seed": [1, 2]}}, "vary.train.seed: with search: pbt only numbers"),
        ({"vmap": False}, "vmap: must be auto or true with search: pbt"),
        ({"trials": 3}, "trials: in a population of 3 pbt.quantile replaces none; at least 4"),
        ({"trials_per_program": 3}, "trials_per_program: populations of 3 do not make up the 4 trials"),
        ({"pbt": {"copy": ["replays"]}}, "pbt.copy: unknown value 'replays'; choose from optimizer, replay"),
        ({"pbt": {"quantile": 0.6}}, "pbt.quantile: must be at most 0.5"),
        ({"pbt": {"first": 99}}, "pbt.first: must be below the "),
        ({"pbt": {"every": 99}}, "pbt.every: must be below the "),
        ({"pbt": {"evry": 1}}, "pbt.evry: unknown key; did you mean every?"),
        pytest.param({"metric": "eval/x"}, "metric: the runs have no 'eval/x'", marks=pytest.mark.slow),
        (
            {"vary": {"policy.regularization": [0, 0.1]}},
            "vary.policy.regularization: members of a population",
        ),
    ],
)
def test_a_mistake_names_the_key(tmp_path: Path, keys: Any, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, **{"search": "pbt", "trials": 4, "vary": RATES, "fixed": BANDIT, **keys})
    assert door.main([str(path), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
