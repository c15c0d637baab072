"""Successive halving: who is judged when and among whom, by hand; trials that begin late; resumption bit for bit."""

import importlib.util
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resumable import assert_same_run, newest
from test_sweep_spec import write

from sacbrax.config import ConfigError
from sacbrax.run.directory import in_directory
from sacbrax.run.loop import run
from sacbrax.sweep import __main__ as door
from sacbrax.sweep import spec
from sacbrax.sweep.halving import HalvingConfig, Stay, is_rung, pruned, stays
from sacbrax.sweep.journal import Journal
from sacbrax.sweep.slots import Slots

BANDIT = {"env.name": "probes:Bandit", "algorithm.n_step": 1}
RATES = {"algorithm.learning_rate": [1e-3, 1e-6, 1e-2, 3e-2, 1e-5]}
LONGER = BANDIT | {"train.total_env_steps": 176}  # four evaluations after the first update


def test_rungs() -> None:
    assert [n for n in range(1, 60) if is_rung(n, HalvingConfig(first=2, factor=3))] == [2, 6, 18, 54]


def test_the_best_of_those_that_came_as_far_go_on() -> None:
    assert [value for value in range(7) if not pruned(value, range(7), 3)] == [5, 6]
    assert [value for value in range(7) if not pruned(value, range(7), 2)] == [4, 5, 6]
    assert not pruned(1.0, [1.0], 3)
    assert pruned(float("nan"), [1.0], 2)


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is an extra")
def test_the_rule_is_optunas() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    generator = np.random.default_rng(0)
    for count in range(1, 12):
        for factor in (2, 3):
            values = generator.normal(size=count).round(1).tolist()
            pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
            study = optuna.create_study(direction="maximize", pruner=pruner)
            for value in values:  # the last one is judged among all
                trial = study.ask()
                trial.report(value, 1)
                ends = trial.should_prune()
            assert pruned(values[-1], sorted(values), factor) == ends


def test_ten_thousand_trials_are_told_apart_at_once() -> None:
    scores = np.random.default_rng(0).normal(size=(7_000, 8))
    begin = time.process_time()
    found = stays(scores, 10_000, 20, HalvingConfig())
    assert found[-1].trial == 9_999
    assert time.process_time() - begin < 2, "some 0.1 s; a look at each of the others for each took hours"


def test_slots_are_taken_again() -> None:
    """Two slots and four trials of four evaluations, judged at 1 and 2; a slot's number is its score."""
    scores = np.asarray([[9, 9], [1, 2], [3, 4], [0, 1], [5, 0], [5, 0], [5, 0], [5, 0.0]])
    config = HalvingConfig(first=1, factor=2)
    found = stays(scores, 4, 4, config)
    assert found == [
        Stay(0, 0, 0, 1, pruned=True),  # 1 of (1, 2)
        Stay(1, 1, 0, 4),  # 2 of those, then 4 with nobody as far
        Stay(2, 0, 1, 3, pruned=True),  # 3 of (1, 2, 3), then 0 of (4, 0)
        Stay(3, 0, 3, 7),  # 5 of (1, 2, 3, 5), then 5 of (4, 0, 5)
    ]
    for rows in range(1, 8):  # what was is not changed by what comes
        before = stays(scores[:rows], 4, 4, config)
        assert [(s.trial, s.slot, s.begin) for s in before] == [
            (s.trial, s.slot, s.begin) for s in found if s.begin < rows
        ]
    assert stays(scores[:2], 4, 4, config, others=[[3.0, 0.0]])[1].pruned, "earlier trials are rivals, too"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"search": "pbt", "trials": 4}, "pruner: must be none with search: pbt"),
        ({"vmap": False}, "vmap: must be auto or true with a pruner"),
        ({"trials_per_program": 1}, "trials_per_program: must be at least 2 with a pruner"),
        ({"vary": {"train.seed": [1, 2]}}, "vary.train.seed: all trials have the same seeds with a pruner"),
        ({"fixed": {"init.from": "swimmer"}}, "pruner: must be none with init.from"),
        ({"asha": {"first": 4}}, "asha.first: must be below the 4 evaluations of a trial, got 4"),
        ({"pruner": "median"}, "pruner: unknown value 'median'; choose from none, asha"),
    ],
)
def test_a_mistake_names_the_key(tmp_path: Path, keys: Any, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"vary": RATES, "pruner": "asha", **keys, "fixed": LONGER | keys.get("fixed", {})}
    assert door.main([str(write(tmp_path, **keys)), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_the_rule_stays_while_a_sweep_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path, fixed=LONGER, vary=RATES, pruner="asha", asha={"first": 1})
    Journal(spec.read(path)).plan([])
    Journal(spec.read(path))
    for override, line in (("asha.factor=2", "asha.factor: 2, but the"), ("pruner=none", "pruner: None, but the")):
        with pytest.raises(ConfigError, match=line):
            Journal(spec.read(path, [override]))


@pytest.mark.parametrize(("direction", "gone"), [("minimize", [False, True]), ("maximize", [True, False])])
def test_trials_of_other_programs_are_judged_by_the_direction_too(
    tmp_path: Path, direction: str, gone: list[bool]
) -> None:
    keys = {"pruner": "asha", "asha": {"first": 1, "factor": 2}, "direction": direction}
    sweep = spec.read(write(tmp_path, fixed=LONGER, vary={"algorithm.learning_rate": [1e-3, 1e-6]}, **keys))
    configs = [in_directory(sweep.trial(own), tmp_path / "run") for own in sweep.parameters()]
    slots = Slots(configs, 2, sweep.config, others=[[5.0], [6.0]])
    rows = [{}, {f"seed_{i}/{sweep.config.metric}": score for i, score in enumerate((1.0, 9.0))}]
    assert [stay.pruned for stay in slots.stays(rows)] == gone


def test_trials_that_diverge_make_room_for_others(tmp_path: Path) -> None:
    """A reward of 1e30 squared overflows: the first two have no update, and the third takes the slot of one of them."""
    fixed = LONGER | {"train.max_bad_updates": 5, "eval.episodes": 2}
    keys = {"pruner": "asha", "asha": {"first": 1, "factor": 2}, "trials_per_program": 2}
    path = write(tmp_path, fixed=fixed, vary={"algorithm.reward_scale": [1e30, 2e30, 1.0]}, **keys)
    assert door.main([str(path), "--quiet"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "sweep" / "trials.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["failed", "failed", "done"]
    assert [row.get("error") for row in rows] == ["an agent diverged", "an agent diverged", None]
    assert [len(row["curve"]) for row in rows] == [1, 1, 4], "one that has diverged ends where it is judged first"


@pytest.mark.slow
def test_a_trial_that_begins_late_is_the_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five trials in two slots of one program against the five side by side: what each has of a curve is the same but
    for rounding, as for seeds."""
    full, halved = tmp_path / "full", tmp_path / "halved"
    full.mkdir()
    halved.mkdir()
    assert door.main([str(write(full, fixed=LONGER, vary=RATES, vmap=True)), "--quiet"]) == 0
    keys = {"pruner": "asha", "asha": {"first": 1, "factor": 2}, "trials_per_program": 2}
    path = str(write(halved, fixed=LONGER, vary=RATES, **keys))
    assert door.main([path, "--quiet"]) == 0
    assert "(pruned)" in capsys.readouterr().out
    rows = [json.loads(line) for line in (halved / "sweep" / "trials.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows} == {"done", "pruned"}
    assert len({row["run"] for row in rows}) == 1, "one program"
    assert max(row["begin"] for row in rows) > 0
    first = json.loads((full / "sweep" / "trials.jsonl").read_text().splitlines()[0])
    metrics = [json.loads(line) for line in (Path(first["run"]) / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        own = [line[f"seed_{row['trial']}/eval/return_mean"] for line in metrics[1:]]
        assert row["curve"] == pytest.approx(own[: len(row["curve"])], rel=1e-3, abs=1e-4)
        assert len(row["curve"]) == 4 or row["status"] == "pruned"
        assert row["env_steps"] == 16 + 40 * len(row["curve"])


@pytest.mark.slow
def test_slots_go_on_bit_for_bit(tmp_path: Path) -> None:
    fixed = LONGER | {"checkpoint.every_env_steps": 8, "checkpoint.keep": 50}
    sweep = spec.read(write(tmp_path, fixed=fixed, vary=RATES, pruner="asha", asha={"first": 1, "factor": 2}))
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def slots(directory: Path, like: Any = None) -> Slots:
        configs = [in_directory(sweep.trial(own), directory) for own in sweep.parameters()]
        return Slots(configs, 2, sweep.config, like=like)

    one = slots(whole)
    result = run(one.config, quiet=True, population=one)
    late = [stay for stay in one.stays(result.metrics) if stay.begin > 0]
    assert late
    assert one.finished(result.metrics)
    shutil.copytree(whole, parts)
    while int(newest(parts).name.split("-")[0]) > 16 + 40 * late[0].begin + 20:
        shutil.rmtree(newest(parts))
    again = slots(parts, one)
    run(again.config, quiet=True, population=again)
    assert_same_run(whole, parts)
