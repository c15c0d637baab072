"""Sweep files: what they may say, what is drawn from them, and one line for every mistake."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_config import TINY

from sacbrax.config import ConfigError
from sacbrax.sweep import spec
from sacbrax.sweep.journal import Journal

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "sweeps").glob("*.yaml"))


def write(folder: Path, **keys: Any) -> Path:
    """A sweep file beside the tiny configuration."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    path = folder / "some.yaml"
    path.write_text(yaml.safe_dump({"base": "tiny.yaml", "dir": str(folder / "sweep"), **keys}))
    return path


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    vary = {"algorithm.gamma": [0.5, 0.9], "network.hidden_sizes": {"choice": [[8], [8, 8]]}}
    sweep = spec.read(write(tmp_path, vary=vary))
    found = [(p["algorithm.gamma"], p["network.hidden_sizes"]) for p in sweep.parameters()]
    assert found == [(0.5, [8]), (0.5, [8, 8]), (0.9, [8]), (0.9, [8, 8])]
    config = sweep.trial(sweep.parameters()[3])
    assert (config.algorithm.gamma, config.network.hidden_sizes) == (0.9, (8, 8))


def test_a_variant_is_settings_that_belong_together(tmp_path: Path) -> None:
    variants = {"plain": {}, "wide": {"network.hidden_sizes": [8, 8], "algorithm.tau": 0.5}}
    path = write(tmp_path, variants=variants, vary={"train.seed": [0, 1]})
    sweep = spec.read(path)
    assert [(p["variant"], p["train.seed"]) for p in sweep.parameters()] == [
        ("plain", 0),
        ("plain", 1),
        ("wide", 0),
        ("wide", 1),
    ]
    config = sweep.trial(sweep.parameters()[3])
    assert (config.network.hidden_sizes, config.algorithm.tau, config.train.seed) == ((8, 8), 0.5, 1)
    assert sweep.trial(sweep.parameters()[1]).algorithm.tau == TINY["algorithm"].get("tau", 0.005)
    Journal(sweep).plan(sweep.parameters())
    variants["wide"]["algorithm.tau"] = 0.6
    changed = spec.read(write(tmp_path, variants=variants, vary={"train.seed": [0, 1]}))
    with pytest.raises(ConfigError, match="its trial 2 has"):
        Journal(changed).plan(changed.parameters())
    drawn = spec.read(path, ["search=random", "trials=8"]).parameters()
    assert {p["variant"] for p in drawn} == {"plain", "wide"}
    assert all(("algorithm.tau" in p) == (p["variant"] == "wide") for p in drawn)


def test_a_random_search_draws_as_told(tmp_path: Path) -> None:
    vary = {
        "algorithm.learning_rate": {"log_uniform": ["1e-5", "1e-1"]},
        "algorithm.gamma": {"uniform": [0.5, 1.0]},
        "train.batch_size": [4, 8],
    }
    trials = spec.read(write(tmp_path, search="random", trials=400, vary=vary)).parameters()
    rates = np.log10([trial["algorithm.learning_rate"] for trial in trials])
    gammas = np.asarray([trial["algorithm.gamma"] for trial in trials])
    # Quartiles of 400 uniform draws: within 4 standard errors, 0.09 of the width.
    np.testing.assert_allclose(np.quantile(rates, [0.25, 0.5, 0.75]), [-4, -3, -2], atol=0.36)
    np.testing.assert_allclose(np.quantile(gammas, [0.25, 0.5, 0.75]), [0.625, 0.75, 0.875], atol=0.045)
    assert -5 <= rates.min() <= rates.max() <= -1
    assert 0.38 < np.mean([trial["train.batch_size"] == 4 for trial in trials]) < 0.62
    assert np.abs(np.corrcoef(rates, gammas)[0, 1]) < 0.2


def test_more_trials_leave_the_first_ones_alone(tmp_path: Path) -> None:
    path = write(tmp_path, search="random", vary={"algorithm.gamma": {"uniform": [0.5, 1.0]}})
    few, many = (spec.read(path, [f"trials={n}"]).parameters() for n in (3, 10))
    assert many[:3] == few
    assert spec.read(path, ["seed=1"]).parameters()[0] != few[0]


def test_overrides_go_where_they_belong(tmp_path: Path) -> None:
    path = write(tmp_path, fixed={"train.num_seeds": 3}, vary={"algorithm.gamma": ["5e-1"]}, vmap=True)
    sweep = spec.read(path, ["train.seed=7", "score=best"])
    config = sweep.trial(sweep.parameters()[0])
    assert (config.train.seed, config.train.num_seeds, config.algorithm.gamma) == (7, 3, 0.5)
    assert (sweep.config.score, sweep.config.vmap) == ("best", "true")


def test_an_override_reaches_one_configuration_key_of_the_sweep(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        fixed={"train.num_seeds": 3, "algorithm.tau": 0.5},
        vary={"train.seed": [0, 1], "algorithm.gamma": [0.5]},
        variants={"plain": {}, "wide": {"network.hidden_sizes": [8, 8], "network.activation": "tanh"}},
    )
    overrides = ["vary.train.seed=[3]", "fixed.algorithm.tau=0.25", "variants.wide.network.activation=silu"]
    sweep = spec.read(path, overrides)
    plain, wide = map(sweep.trial, sweep.parameters())
    assert [(c.train.seed, c.algorithm.gamma, c.algorithm.tau, c.train.num_seeds) for c in (plain, wide)] == [
        (3, 0.5, 0.25, 3)
    ] * 2
    assert (wide.network.activation, wide.network.hidden_sizes) == ("silu", (8, 8))
    assert plain.network.activation == "relu"
    drawn = spec.read(path, ["search=random", "vary.algorithm.gamma={uniform: [0.6, 0.7]}", "variants={}"])
    assert all(0.6 <= trial["algorithm.gamma"] <= 0.7 for trial in drawn.parameters())
    with pytest.raises(ConfigError, match=r"^train\.sed: unknown key; did you mean seed\?"):
        spec.read(path, ["vary.train.sed=[3]"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files(path: Path) -> None:
    sweep = spec.read(path)
    assert len(sweep.parameters()) > 1
    assert sweep.directory == Path("runs") / "sweeps" / path.stem


GAMMA = {"algorithm.gamma": [0.9]}


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"vary": {}}, "vary: nothing varies"),
        ({"vary": {"algorithm.gamma": [date(2020, 1, 1)]}}, "algorithm.gamma: expected a number"),
        ({"vary": GAMMA, "fixed": {"algorithm.tau": date(2020, 1, 1)}}, "algorithm.tau: expected a number"),
        ({"vary": {"algorithm.gama": [1]}}, "algorithm.gama: unknown key; did you mean gamma?"),
        ({"vary": {"algorithm.gamma": [0.9, 2]}}, "algorithm.gamma: must be at most 1"),
        ({"vary": {"algorithm.gamma": 3}}, "vary.algorithm.gamma: expected a list of choices"),
        ({"vary": {"algorithm.gamma": []}}, "vary.algorithm.gamma: expected at least one"),
        ({"vary": {"algorithm.gamma": {"normal": [0, 1]}}}, "vary.algorithm.gamma: expected a list of choices"),
        ({"vary": {"algorithm.gamma": {"uniform": [0, 1]}}}, "vary.algorithm.gamma: a grid has lists"),
        ({"search": "random", "vary": {"algorithm.gamma": {"uniform": [0.5, 2]}}}, "algorithm.gamma: must be at most"),
        ({"search": "random", "vary": {"algorithm.gamma": {"uniform": [1, 0]}}}, "vary.algorithm.gamma.uniform: "),
        ({"search": "random", "vary": {"algorithm.tau": {"log_uniform": [0, 1]}}}, "vary.algorithm.tau.log_uniform: "),
        ({"search": "random", "vary": {"algorithm.tau": {"uniform": 1}}}, "vary.algorithm.tau.uniform: expected two"),
        (
            {"search": "random", "vary": {"train.batch_size": {"uniform": [2, 8]}}},
            "vary.train.batch_size: a range has all numbers between its ends, but train.batch_size: expected a whole",
        ),
        ({"vary": {"run.dir": ["a"]}}, "run.dir: set by the sweep"),
        ({"variants": {"a": {"run.dir": "a"}}}, "run.dir: set by the sweep"),
        ({"variants": {"a": 3}}, "variants.a: expected configuration keys with their values"),
        ({"variants": {"a": {"algorithm.gama": 1}}}, "algorithm.gama: unknown key"),
        ({"variants": {"a": GAMMA}, "vary": GAMMA}, "variants.a: algorithm.gamma varies by itself"),
        ({"vary": GAMMA, "fixed": {"run.dir": "a"}}, "run.dir: set by the sweep"),
        ({"vary": GAMMA, "fixed": {"train.batch_size": 1000}}, "train.batch_size: 1000 is more than"),
        ({"vary": GAMMA, "serch": "grid"}, "serch: unknown key; did you mean search?"),
        ({"vary": GAMMA, "vmap": "perhaps"}, "vmap: unknown value 'perhaps'; choose from auto, true, false"),
        ({"vary": GAMMA, "trials_per_program": 0}, "trials_per_program: must be at least 1"),
        ({"vary": GAMMA, "base": None}, "base: the configuration file"),
        ({"vary": GAMMA, "base": "absent.yaml"}, "absent.yaml: cannot read the file: No such file"),
    ],
)
def test_a_mistake_names_the_key(tmp_path: Path, keys: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        spec.read(write(tmp_path, **keys))
    assert line in str(error.value)
    assert not (tmp_path / "sweep").exists()


def test_the_configuration_of_a_run_is_no_sweep() -> None:
    with pytest.raises(ConfigError, match=r"swimmer\.yaml: the configuration of one run, not a sweep; "):
        spec.read("swimmer")


def test_the_journal_keeps_to_one_sweep(tmp_path: Path) -> None:
    path = write(tmp_path, search="random", trials=3, vary={"algorithm.gamma": {"uniform": [0.5, 1.0]}})
    sweep = spec.read(path)
    journal = Journal(sweep)
    journal.plan(sweep.parameters())
    journal.finish([journal.rows[1] | {"status": "done", "score": 4.0}])
    again = Journal(sweep)
    again.plan(sweep.parameters())
    assert again.rows == journal.rows
    assert [row["trial"] for row in again.planned()] == [0, 2]
    assert [row["trial"] for row in again.ranked("maximize")] == [1, 0, 2]
    with pytest.raises(ConfigError, match=r"holds another sweep: its trial 0"):
        Journal(sweep).plan(spec.read(path, ["seed=1"]).parameters())
    with pytest.raises(ConfigError, match=r"train.seed: 3, but the sweep in .* has 0"):
        Journal(spec.read(path, ["train.seed=3"]))
    more = Journal(spec.read(path, ["trials=5"]))
    more.plan(spec.read(path, ["trials=5"]).parameters())
    assert len(more.planned()) == 4
    (tmp_path / "sweep" / "trials.jsonl").write_text('{"trial": 0, "sta')
    with pytest.raises(ConfigError, match="no journal"):
        Journal(sweep)


def test_a_population_keeps_its_size(tmp_path: Path) -> None:
    """More trials would be a second population, of the remainder; of the same size they are one that was asked for."""
    path = write(tmp_path, search="pbt", trials=4, vary={"algorithm.gamma": [0.5, 0.9]})
    Journal(spec.read(path)).plan([])
    with pytest.raises(ConfigError, match=r"trials_per_program: 6, but the sweep in .* has 4; choose another dir"):
        Journal(spec.read(path, ["trials=6"]))
    Journal(spec.read(path, ["trials=8", "trials_per_program=4"]))
    search = json.loads((tmp_path / "sweep" / "search.json").read_text())
    del search["trials_per_program"]
    (tmp_path / "sweep" / "search.json").write_text(json.dumps(search))
    Journal(spec.read(path))


@pytest.mark.parametrize("keys", [{"fixed": {"algorithm.gamma": 0.3}}, {}])
def test_what_varies_is_set_in_one_place(tmp_path: Path, keys: dict[str, Any]) -> None:
    """Or what is fixed would do nothing."""
    path = write(tmp_path, vary={"algorithm.gamma": [0.5, 0.9]}, **keys)
    with pytest.raises(ConfigError, match=r"^algorithm\.gamma: varies in .*some\.yaml; "):
        spec.read(path, [] if keys else ["algorithm.gamma=0.3"])
