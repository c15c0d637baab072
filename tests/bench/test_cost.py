"""The model of a vector step: by hand, and against every line of the page's own tables, whose error it states."""

import json
import math
import re
from pathlib import Path

import pytest

from sacbrax import config as config_lib
from sacbrax.bench import cost, work
from sacbrax.bench.__main__ import main
from sacbrax.bench.cost import MACHINES, Machine

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
SIZES = (8, 2)
SIMPLE = Machine(1e9, 0.5, 1e9, 1e6, 10, 5, 1e-4, 1e-3, 1e9)
AXES = {
    "environments": ("env.num_envs={0}", "replay.capacity={1}"),
    "seeds by `vmap`": ("train.num_seeds={0}",),
    "batch size": ("train.batch_size={0}",),
    "width": ("network.hidden_sizes=[{0},{0}]",),
    "updates per vector step": ("train.updates_per_step={0}",),
}


def test_a_vector_step_by_hand() -> None:
    base = config_lib.load("swimmer", ["train.updates_per_step=3", "train.num_seeds=4"])
    flops = work.update_flops(base, *SIZES)
    parts = cost.vector_step(base, SIZES, SIMPLE)
    assert parts == pytest.approx(
        {"physics": 4 * 256 / 1e6, "updates": 12 * flops / 0.5e9, "kernels": 20 * 1e-4, "sums": 0.0}
    )
    seeds = config_lib.load("swimmer", ["train.num_seeds=4", "parallel.over=seeds", "train.update_interval=2"])
    parts = cost.vector_step(seeds, SIZES, SIMPLE, devices=4)
    assert parts["updates"] == pytest.approx(flops / 0.5e9 / 2), "an agent each, and every second step"
    assert parts["kernels"] == pytest.approx((10 - 5 / 2) * 1e-4), "half an update's are missing"
    shared = cost.vector_step(config_lib.load("swimmer"), SIZES, SIMPLE, devices=2)
    assert shared["physics"] == pytest.approx(128 / 1e6)
    assert shared["updates"] == pytest.approx(flops / 2 / 0.5e9)
    parameters = 4 * sum(
        inputs * 64 + 64 + 64 * 64 + 64 + layer_norm + 64 * outputs + outputs
        for inputs, outputs, layer_norm in ((8, 4, 0), (10, 1, 256), (10, 1, 256))
    )
    assert shared["sums"] == pytest.approx(5e-3 + 2 * (parameters + 4) / 1e9)
    seldom = cost.vector_step(config_lib.load("swimmer", ["train.update_interval=4"]), SIZES, SIMPLE, devices=2)
    assert seldom["sums"] == pytest.approx(4e-3 + (1e-3 + 2 * (parameters + 4) / 1e9) / 4)


def predicted_to_measured() -> dict[tuple[str, int], float]:
    """Of every line of the study's table."""
    found, axis = {}, ""
    for line in PAGE.splitlines():
        match = re.match(r"\| ([a-z `]*) ?\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", line)
        axis = (match[1].strip() or axis) if match else ""
        if match and axis in AXES:
            value, rate = (int(text.replace(",", "")) for text in match.groups()[1:3])
            config = config_lib.load("swimmer", [text.format(value, 1024 * value) for text in AXES[axis]])
            seconds = sum(cost.vector_step(config, SIZES, MACHINES["b"]).values())
            found[axis, value] = config.train.num_seeds * config.env.num_envs / seconds / rate
    return found


def test_the_page_states_the_error() -> None:
    """How far predicted rates are from measured ones, as the page says; two of the points made two of the numbers."""
    ratios = predicted_to_measured()
    assert len(ratios) == 11
    fitted = [ratios.pop(("environments", 256)), ratios.pop(("width", 256))]
    assert fitted == pytest.approx([1.0, 1.0], abs=0.02)
    off = sorted(math.exp(abs(math.log(ratio))) for ratio in ratios.values())
    stated = re.search(r"off by a factor of ([\d.]+) in the median and of ([\d.]+) at worst", PAGE)
    assert stated, "docs/scaling.md states the error"
    assert [float(text) for text in stated.groups()] == pytest.approx([off[len(off) // 2], off[-1]], abs=0.05)


def test_the_door(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "swimmer", "--on", "h100", "--devices", "1", "8", "--json"]) == 0
    one, eight = json.loads(capsys.readouterr().out)["predictions"]
    assert one["env_steps_per_second"] == pytest.approx(256 / sum(one["seconds"].values()))
    assert eight["state_bytes_per_device"] < one["state_bytes_per_device"]
    assert main(["cost", "swimmer"]) == 0
    assert "predicted, not measured" in capsys.readouterr().out
