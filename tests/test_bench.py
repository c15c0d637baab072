"""Benchmarks: one JSON value with the promised keys, numbers that fit each other, and the count of operations."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import yaml
from conftest import TINY, make_tiny

from sacbrax import __main__ as overview
from sacbrax.bench import update
from sacbrax.bench.__main__ import BENCHMARKS, main
from sacbrax.sac import make_agent
from sacbrax.schedules import Hyper

FAST = ["--repeats", "2", "--seconds", "0.01"]


def products(jaxpr: Any, times: int = 1) -> Iterator[int]:
    """Operations of every matrix product in a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inner = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
            yield 2 * times * inner * math.prod(equation.outvars[0].aval.shape)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from products(inner, times * equation.params.get("length", 1))


@pytest.mark.parametrize("hidden", [(16,), (24, 8, 16)])
@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2"])
def test_the_count_is_that_of_the_program(algorithm: str, hidden: tuple[int, ...]) -> None:
    config = make_tiny(f"algorithm.name={algorithm}", f"network.hidden_sizes={list(hidden)}")
    agent, hyper = make_agent(config, 5, 3), Hyper.create(config, 3)
    state = jax.eval_shape(agent.init, jax.random.key(0))
    jaxpr = jax.make_jaxpr(agent.update)(state, update._random_batch(32, 5, 3), hyper, jax.random.key(0)).jaxpr
    assert update.update_flops(algorithm, 32, hidden, 5, 3) == sum(products(jaxpr))


def test_the_machines_product_is_counted_right() -> None:
    operations, multiply = update._matmul(64, seconds=0.001)
    assert operations % (2 * 64**3) == 0
    assert multiply().shape == (64, 64)
    assert jnp.isfinite(multiply()).all()


def test_update_prints_one_json_object(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "MATMUL_SIZES", {"cpu": (64,)})
    assert main(["update", "--json", "--batch-size", "16", "--hidden", "8", *FAST]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["flops_per_second"] == pytest.approx(result["updates_per_second"] * result["flops_per_update"])
    fraction = result["flops_per_second"] / result["matmul_flops_per_second"]
    assert result["fraction_of_matmul"] == pytest.approx(fraction)
    assert 0 < fraction < 1
    assert result["compile_seconds"] > 0


def test_train_prints_one_json_object(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert main(["train", str(tmp_path / "tiny.yaml"), "--json", *FAST, "train.updates_per_step=3"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["env_steps_per_second"] / 4 == pytest.approx(result["gradient_steps_per_second"] / 3)
    assert result["compile_seconds"] == pytest.approx(sum(result["compile_seconds_by_function"].values()))
    assert result["predicted_bytes"] > 64 * 9 * 4
    assert result["peak_rss_bytes"] > result["predicted_bytes"]
    assert list(tmp_path.iterdir()) == [tmp_path / "tiny.yaml"], "a benchmark leaves nothing behind"


def test_tables_are_for_people(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert main(["train", str(tmp_path / "tiny.yaml"), *FAST]) == 0
    assert "gradient steps" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["upgrade"], "choose from physics, update, train"),
        (["update", "--repeats", "0"], "positive whole number"),
        (["update", "--hidden", "8,x"], "network.hidden_sizes"),
        (["update", "--algorithm", "ppo"], "algorithm.name"),
        (["train"], "config"),
        (["train", "absent.yaml"], "cannot read"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_the_overviews_list_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in BENCHMARKS)
    assert overview.main([]) == 0
    out = capsys.readouterr().out
    assert "train " in out
    package = Path(overview.__file__).parent
    for name in overview.COMMANDS:
        assert (f"  {name} " in out) == ((package / f"{name}.py").exists() or (package / name).is_dir())
