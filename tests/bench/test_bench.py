"""Benchmarks: one JSON value with the promised keys, numbers that fit each other, and the count of operations."""

import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from probes import BraxCue
from tiny_config import TINY, make_tiny

from sacbrax import __main__ as overview
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.bench import brax_update, parts, physics, physics_engines, products, roofline, tasks, update, work
from sacbrax.bench.__main__ import BENCHMARKS, main
from sacbrax.core.errors import ConfigError
from sacbrax.policy_file.files import load_policy
from sacbrax.training import updates

FAST = ["--repeats", "2", "--seconds", "0.01"]


@pytest.mark.parametrize(
    "networks",
    [
        ("network.hidden_sizes=[16]",),
        ("network.hidden_sizes=[24, 8, 16]",),
        ("network.actor_hidden_sizes=[8]", "network.critic_hidden_sizes=[16, 24]"),
        ("network.critic_weight_norm=true", "network.actor_weight_norm=true"),
        ("network.critic_block=simba", "network.critic_hidden_sizes=[8, 8]", "network.actor_block=simba"),
        ("algorithm.num_critics=5", "algorithm.target_critics=2"),
    ],
)
@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2", "sac_v2 with batch norm"])
def test_the_count_is_that_of_the_program(algorithm: str, networks: tuple[str, ...]) -> None:
    sizes = (*networks, "train.batch_size=32", "train.exploration_env_steps=32")
    name, _, more = algorithm.partition(" with ")
    norms = ("network.critic_batch_norm=batch", "network.actor_batch_norm=renorm") if more else ()
    if more and "network.critic_block=simba" in networks:
        pytest.skip("blocks have layer norm")
    config = make_tiny(f"algorithm.name={name}", *sizes, *norms)
    agent, hyper = make_agent(config, 5, 3), make_hyper(config, 3)
    state = jax.eval_shape(agent.init, jax.random.key(0), hyper)
    jaxpr = jax.make_jaxpr(agent.update)(state, update._random_batch(32, 5, 3), hyper, jax.random.key(0)).jaxpr
    counted = sum(times * products.operations(equation) for equation, times in products.equations(jaxpr))
    assert work.update_flops(config, 5, 3) == counted


@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2"])
def test_the_count_is_that_of_a_group_with_one_update_of_the_policy(algorithm: str) -> None:
    sizes = ("network.hidden_sizes=[16, 8]", "train.batch_size=32", "train.exploration_env_steps=32")
    config = make_tiny(f"algorithm.name={algorithm}", "algorithm.policy_delay=4", "train.updates_per_step=4", *sizes)
    agent, hyper = make_agent(config, 5, 3), make_hyper(config, 3)
    state = jax.eval_shape(agent.init, jax.random.key(0), hyper)
    own = (
        jax.tree.map(lambda x: jnp.stack([x] * 4), update._random_batch(32, 5, 3)),
        jax.random.split(jax.random.key(0), 4),
    )
    jaxpr = jax.make_jaxpr(lambda state: updates.in_groups(agent, state, own, hyper, 4))(state).jaxpr
    counted = sum(times * products.operations(equation) for equation, times in products.equations(jaxpr))
    assert 4 * work.update_flops(config, 5, 3) == counted
    plain = make_tiny(f"algorithm.name={algorithm}", *sizes)
    for work_of in (work.update_flops, work.update_bytes):
        assert work_of(config, 5, 3) < work_of(plain, 5, 3)


def test_the_products_of_a_program_by_themselves() -> None:
    def function(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.tanh(jax.lax.fori_loop(0, 3, lambda _, x: jnp.sin(x @ b), a) @ b.T)

    step, operands = products.alone(function, jnp.ones((5, 4)), jnp.ones((4, 4)))
    assert len(operands) == 4
    compiled = jax.jit(lambda x: jax.lax.fori_loop(0, 2, lambda i, x: step(x, i), x)).lower(operands).compile()
    assert compiled.cost_analysis()["flops"] >= 4 * 2 * 5 * 4 * 4  # of the loop's body, none of them left out
    assert "sine" not in compiled.as_text()
    for before, after in zip(operands, compiled(operands), strict=True):
        assert jnp.allclose(before[0], after[0], rtol=1e-6)
        assert (before[1] == after[1]).all()


def test_the_machines_product_is_counted_right() -> None:
    operations, multiply = update.matmul(64, seconds=0.001)
    assert operations % (2 * 64**3) == 0
    assert multiply().shape == (64, 64)
    assert jnp.isfinite(multiply()).all()


def test_update_prints_one_json_object(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "MATMUL_SIZES", {"cpu": (64,)})
    deeper = "network.critic_hidden_sizes=[8,4]"
    sizes = ["--batch-size", "16", "--hidden", "8"]
    assert main(["update", deeper, "--beside-plain", "--cpu-time", "--json", *sizes, *FAST]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["clock"] == "cpu"
    assert (result["hidden_sizes"], result["critic_hidden_sizes"], result["overrides"]) == ([8], [8, 4], [deeper])
    assert result["flops_per_second"] == pytest.approx(result["updates_per_second"] * result["flops_per_update"])
    fraction = result["flops_per_second"] / result["matmul_flops_per_second"]
    assert result["fraction_of_matmul"] == pytest.approx(fraction)
    assert 0 < fraction < 1
    assert result["compile_seconds"] > 0
    assert result["plain_compile_seconds"] > 0
    assert result["plain_kernels_per_update"] < result["kernels_per_update"]
    ratio = result["ratio_to_plain"]
    assert 0 < ratio["lowest"] <= ratio["median"] <= ratio["highest"]


def test_update_beside_brax(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "MATMUL_SIZES", {"cpu": (64,)})
    assert main(["update", "--beside-brax", "--json", "--batch-size", "16", "--hidden", "8", *FAST]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["brax_updates_per_second"] > 0
    assert 0 < result["kernels_per_update"] < result["brax_kernels_per_update"]
    ratio = result["ratio_to_brax"]
    assert 0 < ratio["lowest"] <= ratio["median"] <= ratio["highest"]


def test_brax_takes_the_step_of_its_own_training() -> None:
    """Every part of its agent moves, and the target by tau of the critics' way."""
    config = make_tiny("algorithm.tau=0.25")
    before, step = brax_update.make(config, update._random_batch(8, 5, 3))
    after = jax.jit(step)(before)
    for name in ("actor", "critic", "log_alpha"):
        moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), before[name], after[name])
        assert min(jax.tree.leaves(moved)) > 0, name
    expected = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, before["target"], after["critic"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after["target"], expected)


def test_train_prints_one_json_object(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert main(["train", str(tmp_path / "tiny.yaml"), "--json", *FAST, "train.updates_per_step=3"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["env_steps_per_second"] / 4 == pytest.approx(result["gradient_steps_per_second"] / 3)
    assert result["compile_seconds"] == pytest.approx(sum(result["compile_seconds_by_function"].values()))
    assert result["predicted_bytes"] > 64 * 9 * 4
    assert result["peak_rss_bytes"] > result["predicted_bytes"]
    assert list(tmp_path.iterdir()) == [tmp_path / "tiny.yaml"], "a benchmark leaves nothing behind"


def test_parts_of_a_vector_step(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program of each part runs; what is made of their seconds is the same on a busy machine."""
    seconds = iter((0.5, 0.2, 0.25, 0.1, 0.125))  # physics, engine, replay, copy, update

    def once(body: Any, start: Any, *_: Any) -> float:
        after = jax.jit(body)(start, jax.random.key(0))
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, start)
        return next(seconds)

    monkeypatch.setattr(parts, "_seconds", once)
    monkeypatch.setattr(update, "MATMUL_SIZES", {"cpu": (64,)})
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert main(["train", str(tmp_path / "tiny.yaml"), "--json", "--parts", *FAST]) == 0
    result = json.loads(capfd.readouterr().out)
    found, whole = result["parts"], 1 / result["vector_steps_per_second"]["median"]
    taken = {"physics": 0.5, "replay": 0.25, "update": 0.125, "rest": whole - 0.875}
    assert list(found) == list(taken)
    for name, part in found.items():
        assert part["seconds"] == pytest.approx(taken[name])
        assert part["share"] == pytest.approx(taken[name] / whole)
    floors = [part["floor_seconds"] for part in found.values()]
    assert (floors[0], floors[1], floors[3]) == (0.2, 0.1, None)
    assert 0 < floors[2] < 0.125


def test_a_part_takes_what_its_passes_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Per pass, without what a call takes that makes none; each pass has a key of its own."""
    results = []

    def clock(call: Any) -> float:
        results.append(call())
        return (5.0, 5.0, 9.0, 1.0, 1.0, 2.0)[len(results) - 1]

    monkeypatch.setattr(parts.timing, "count_that_takes", lambda seconds, function: 8)
    monkeypatch.setattr(parts.timing, "seconds", clock)
    body = lambda keys, key: jnp.roll(keys, 1, axis=0).at[0].set(jax.random.key_data(key))  # noqa: E731
    assert parts._seconds(body, jnp.zeros((8, 2), jnp.uint32), {}, 0.1, 3) == (5.0 - 1.0) / 8
    assert [len(np.unique(np.asarray(keys), axis=0)) for keys in results] == [8] * 3 + [1] * 3


def test_the_roofs_are_measured_and_printed(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "MATMUL_SIZES", {"cpu": (16, 64)})
    monkeypatch.setattr(roofline, "TRIAD_BYTES", {"memory": 2**16, "cache": 2**12})
    assert main(["roofline", "--json", *FAST]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["matmul_size"] in (16, 64)
    assert list(result["bytes_per_second"]) == ["memory", "cache"]
    for name, median in result["bytes_per_second"].items():
        spread = result["bytes_per_second_spread"][name]
        assert 0 < spread["lowest"] <= median <= spread["highest"]
    rates = {"matmul_flops_per_second": 8e9, "bytes_per_second": {"memory": 2e9, "cache": 4e9}}
    roofline.print_table(result | rates)
    lines = [" ".join(line.split()) for line in capfd.readouterr().out.splitlines()]
    assert lines[1:] == [
        f"matrix product 8.0 GFLOP/s ({result['matmul_size']} x {result['matmul_size']})",
        "bandwidth, memory 2.0 GB/s (ridge at 4.0 FLOP/byte)",
        "bandwidth, cache 4.0 GB/s (ridge at 2.0 FLOP/byte)",
    ]


def test_a_triad_reads_two_arrays_and_writes_one() -> None:
    moved, call = roofline._triad(2**10, 0.001)
    result = call()
    assert result.shape == (128,), "two arrays of 32-bit numbers"
    repeats = moved / (3 * 2**9)
    assert repeats == int(repeats) >= 1
    assert jnp.allclose(result, 2 - 2 * 0.5**repeats), "y <- y / 2 + 1, from 0"


def test_the_sides_of_a_task_take_turns(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second between two looks at the clock; a task of ours has no side of Brax's."""
    monkeypatch.setattr("sacbrax.envs.tasks.brax.BraxTask", BraxCue)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(perf_counter=itertools.count(0, 0.5).__next__))
    sizes = ["--num-envs", "4", "--steps", "3", "--episode-length", "2", "--repeats", "2"]
    assert main(["tasks", "--json", "--tasks", "probes:BraxCue", "probes:Cue", *sizes]) == 0
    rows = json.loads(capfd.readouterr().out)["tasks"]
    assert [(row["task"], row["side"]) for row in rows] == [
        ("probes:BraxCue", "pool"),
        ("probes:BraxCue", "no pool"),
        ("probes:BraxCue", "brax"),
        ("probes:Cue", "pool"),
        ("probes:Cue", "no pool"),
    ]
    for row in rows:
        assert (row["num_envs"], row["compile_seconds"], row["env_steps_per_second"]) == (4, 0.5, 4 * 3 / 0.5)
        assert row["bytes_per_env"] > 2 * 2 * 4, "at least what the probe observes and its physics"
    tasks.print_table({"tasks": rows[:1]})
    heading, line = capfd.readouterr().out.splitlines()
    assert heading.split()[:3] == ["task", "side", "envs"]
    assert line.split() == ["probes:BraxCue", "pool", "4", "24", "0.5", f"{rows[0]['bytes_per_env']:,}"]


def test_tables_are_for_people(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert main(["train", str(tmp_path / "tiny.yaml"), *FAST]) == 0
    assert "gradient steps" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["upgrade"], "choose from physics, update, roofline, train, peers"),
        (["update", "--repeats", "0"], "a whole number, positive"),
        (["update", "--hidden", "8,x"], "network.hidden_sizes"),
        (["update", "--algorithm", "ppo"], "--algorithm"),
        (["update", "--algorithm", "sac_v1", "--beside-brax"], "--beside-brax"),
        (["update", "--beside-brax", "algorithm.tau=0.1"], "--beside-brax"),
        (["update", "algorithm.tua=0.1"], "algorithm.tua"),
        (["train"], "config"),
        (["train", "swimmer", "--parts", "train.num_seeds=2"], "--parts"),
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


@pytest.mark.parametrize("together", [True, False])
def test_physics_shows_its_table_once_where_both_streams_go_to_one_place(
    together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(physics, "ENGINES", {"fused": lambda engine, n, subject: ((lambda calls: 0.01 * calls), 0.0)})
    errors = (tmp_path / "errors").open("w")
    output = (tmp_path / "errors").open("a") if together else (tmp_path / "output").open("w")
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", errors)
    with errors, output:
        assert main(["physics", "--engines", "fused", "--num-envs", "2", "4"]) == 0
    tables = [path.read_text() for path in sorted(tmp_path.iterdir())]
    assert len(tables) == 1 if together else tables[0] == tables[1]
    assert [line.split()[:2] for line in tables[0].splitlines()[1:]] == [
        ["engine", "envs"],
        ["fused", "2"],
        ["fused", "4"],
    ]


def test_physics_steps_the_states_of_a_policy() -> None:
    """Which holds the pole upright, where random actions have let it fall."""
    name = "inverted_pendulum_v5"
    subject = physics_engines.Subject(name, policy=name)
    qpos, qvel, ctrl = physics_engines.inputs(4, subject)
    assert (
        np.abs(qpos[:, 1]).max() < 0.1 < np.abs(physics_engines.inputs(4, physics_engines.Subject(name))[0][:, 1]).max()
    )
    np.testing.assert_allclose(ctrl[0], 3 * load_policy(name)(np.hstack([qpos, qvel])), rtol=1e-5)
    with pytest.raises(ConfigError, match=r"^--policy: inverted_pendulum_v5 sees 4 numbers, a state has 11$"):
        physics_engines.inputs(4, subject._replace(task="hopper_v5"))


def test_physics_prints_rows_as_they_come_and_one_json_object(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")  # given back afterwards: the door adds to it
    arguments = ["--engines", "fused", "mujoco", "warp", "--num-envs", "2", "6", "--repeats", "2", "--seconds", "0.01"]
    assert main(["physics", "--json", *arguments]) == 0
    captured = capfd.readouterr()
    result = json.loads(captured.out)
    rows = result["physics"]
    assert [(row["engine"], row["num_envs"]) for row in rows if row["engine"] != "warp"] == [
        (engine, n) for n in (2, 6) for engine in ("fused", "mujoco")
    ]
    for row in rows:
        assert 0 < row["lowest"] <= row["env_steps_per_second"] <= row["highest"]
        assert row["repeats"] == 2 or (row["repeats"] == 1 and row["short_of_repeats"])  # on a busy machine
        rate = row["num_envs"] * row["vector_steps_per_repeat"] / row["seconds_per_repeat"]
        assert row["lowest"] * 0.999 <= rate <= row["highest"] * 1.001
    assert "warp" in {row["engine"] for row in rows} | set(result["skipped"])
    lines = captured.err.splitlines()
    assert sum(line.startswith(("fused ", "mujoco ")) for line in lines) == 4
    assert ("warp skipped: " in captured.err) == ("warp" in result["skipped"])


def test_an_engine_whose_call_takes_longer_than_the_budget_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first call counts as a measurement, and it gets no more of them than twice the time of all repeats."""
    calls: dict[str, list[int]] = {"quick": [], "slow": []}

    def engine(name: str, n: int, subject: Any) -> Any:
        def run(count: int) -> float:
            calls[name].append(count)
            return count * (0.001 if name == "quick" else 4.0)

        return run, 0.0

    monkeypatch.setattr(physics, "ENGINES", {"quick": engine, "slow": engine})
    quick, slow = physics.measure(["quick", "slow"], 1, physics.Subject("swimmer"), repeats=3, seconds=0.5, skipped={})
    assert (quick["repeats"], quick["short_of_repeats"], quick["vector_steps_per_repeat"]) == (3, False, 5000)
    assert calls["quick"][2:] == [500] * 3
    assert (slow["repeats"], slow["short_of_repeats"]) == (1, True)
    assert calls["slow"] == [1]
    assert slow["env_steps_per_second"] == pytest.approx(10 / 4)
    assert "1 repeat(s) of 4.0 s" in physics.line(slow, [slow])
