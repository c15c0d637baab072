"""Presets: settings that stand in for defaults, and lose against whatever else is said."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_config import make_tiny

from sacbrax import config as config_lib
from sacbrax.config import Config, ConfigError
from sacbrax.config.config import flat
from sacbrax.config.presets import PRESETS

SMALL = (
    "train.updates_per_step=1",
    "network.hidden_sizes=[8]",
    "network.actor_hidden_sizes=null",
    "network.critic_hidden_sizes=null",
)


def given(text: str, *overrides: str) -> dict[str, Any]:
    return flat(config_lib.parse(text, "a file", overrides))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_settings_and_nothing_else(name: str) -> None:
    found, usual = given("", f"algorithm.preset={name}"), flat(Config())
    assert found == usual | PRESETS[name].settings | {"algorithm.preset": name}


def test_what_is_said_elsewhere_wins() -> None:
    text = "algorithm: {preset: crossq, learning_rate: 0.5}\nnetwork: {activation: tanh}\n"
    found = given(text, "algorithm.policy_delay=1")
    assert (found["algorithm.learning_rate"], found["algorithm.policy_delay"]) == (0.5, 1)
    assert (found["network.activation"], found["network.critic_batch_norm"]) == ("tanh", "renorm")
    # A preset on the command line does not undo the file.
    assert given("algorithm: {num_critics: 3}", "algorithm.preset=redq")["algorithm.num_critics"] == 3


def test_a_saved_run_reads_back_as_itself_whatever_the_preset_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_lib.parse("algorithm: {preset: simba}\nnetwork:\n", "a file")
    monkeypatch.setitem(PRESETS, "simba", PRESETS["crossq"])
    assert config_lib.from_mapping(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("algorithm: {preset: fastsac}", "algorithm.preset: unknown value 'fastsac'; choose from sac, redq, crossq"),
        ("algorithm: {preset: [sac]}", "algorithm.preset: expected a text"),
        ("algorithm: {preset: crossq}\nnetwork: 5", "network: expected keys"),
        ("algorithm: {preset: crossq, tau: 0.1}", "algorithm.tau: means nothing"),
        ("algorithm: {preset: flash_sac, target_entropy: -1}", "algorithm.target_sigma: must be null"),
    ],
)
def test_mistakes_are_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_lib.parse(text, "a file")
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_learns_numbers(name: str) -> None:
    import jax
    import jax.numpy as jnp

    from sacbrax.agents.registry import make_agent, make_hyper
    from sacbrax.core.types import Transition

    config = make_tiny(f"algorithm.preset={name}", *SMALL)
    agent, hyper = make_agent(config, 3, 2), make_hyper(config, 2)
    rows = jax.random.normal(jax.random.key(0), (8, 9))
    batch = Transition(rows[:, :3], jnp.tanh(rows[:, 3:5]), rows[:, 5], jnp.full(8, 0.9), rows[:, 6:])
    state = agent.init(jax.random.key(1), hyper)
    new, _ = jax.jit(agent.update)(state, batch, hyper, jax.random.key(2))
    assert int(new.gradient_steps) == 1
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.params, new.params)
    assert all(any(jax.tree.leaves(moved[group])) for group in moved)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(new.params))


def test_a_wanted_sigma_is_the_entropy_of_normal_actions() -> None:
    from sacbrax.agents.registry import make_hyper

    def wanted(*overrides: str) -> float:
        return float(make_hyper(make_tiny(*overrides), 6)["target_entropy"])

    assert wanted("algorithm.target_sigma=0.3") == pytest.approx(
        6 * (math.log(0.3) + 0.5 * math.log(2 * math.pi * math.e))
    )
    assert wanted("algorithm.preset=simba") == pytest.approx(-3.0, abs=1e-2)  # half of the actions' number
    assert wanted() == -6
    with pytest.raises(ConfigError, match=r"^algorithm\.target_sigma: must be below 0.484"):
        wanted("algorithm.target_sigma=0.5")
    wanted("algorithm.target_sigma=0.5", "policy.squash=false")


def test_the_page_is_current() -> None:
    """After a change in presets.py: `python docs/make_algorithms.py`."""
    import runpy

    root = Path(__file__).parents[2]
    code = runpy.run_path(str(root / "docs/make_algorithms.py"))
    assert (root / "docs/algorithms.md").read_text(encoding="utf-8") == code["page"]()
