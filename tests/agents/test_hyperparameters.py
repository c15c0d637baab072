"""Schedules: their values against formulas, their YAML, and that the update sees them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_config import make_tiny

from sacbrax.agents.hyperparameters import at, create
from sacbrax.agents.registry import make_hyper
from sacbrax.config import ConfigError, from_mapping


def schedule(**parts):
    return create(from_mapping({"algorithm": {"reward_scale": parts}}).algorithm.reward_scale)


def test_constant_is_its_number():
    assert float(schedule(schedule="constant", values=[7])(jnp.asarray(123))) == 7.0


def test_linear_passes_through_its_knots():
    linear = schedule(schedule="linear", values=[1, 5, 2], boundaries=[10, 20])
    wanted = {0: 1, 5: 3, 10: 5, 15: 3.5, 20: 2, 1000: 2}
    for step, value in wanted.items():
        assert float(linear(jnp.asarray(step))) == pytest.approx(value, rel=1e-6)


def test_cosine_is_half_a_cosine_between_its_knots():
    cosine = schedule(schedule="cosine", values=[1, 9], boundaries=[100])
    for step in (0, 13, 50, 99, 100, 500):
        wanted = 5 - 4 * math.cos(math.pi * min(step, 100) / 100)
        assert float(cosine(jnp.asarray(step))) == pytest.approx(wanted, rel=1e-5)


def test_piecewise_jumps_at_its_boundaries():
    piecewise = schedule(schedule="piecewise", values=[5, 20, 1], boundaries=[3, 7])
    values = [float(piecewise(jnp.asarray(step))) for step in range(9)]
    np.testing.assert_allclose(values, [5, 5, 5, 20, 20, 20, 20, 1, 1])


def test_values_are_traced_and_map_over_a_sweep():
    sweep = [schedule(schedule="linear", values=[1, end], boundaries=[10]) for end in (2, 3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *sweep)
    halfway = jax.jit(jax.vmap(lambda s, step: s(step), in_axes=(0, None)))(stacked, jnp.asarray(5))
    np.testing.assert_allclose(halfway, [1.5, 2.0])


def test_hyper_resolves_schedules_and_leaves_numbers_alone():
    linear = {"schedule": "linear", "values": [1, 2], "boundaries": [10]}
    config = from_mapping({"algorithm": {"reward_scale": linear, "actor_learning_rate": linear, "target_entropy": -3}})
    plain = make_hyper(config, action_size=2)
    hyper = at(plain, jnp.asarray(5))
    assert float(hyper["reward_scale"]) == 1.5
    assert float(hyper["actor_learning_rate"]) == 1.5
    assert hyper["critic_learning_rate"] is None
    assert hyper["target_entropy"] is plain["target_entropy"]
    assert hyper["gamma"] is plain["gamma"]


def test_schedule_survives_the_yaml_of_a_run():
    for parts in ({"schedule": "constant", "values": [3]}, {"schedule": "cosine", "values": [1, 2], "boundaries": [9]}):
        config = from_mapping({"algorithm": {"reward_scale": parts}})
        assert from_mapping(config.to_mapping()) == config


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ({"schedule": "zigzag"}, "choose from"),
        ({"schedule": "linear", "values": [1, 2]}, "boundaries"),
        ({"schedule": "linear", "values": [1, 2, 3], "boundaries": [9, 9]}, "increasing"),
        ({"schedule": "linear", "values": [1, 2], "boundaries": [0]}, "increasing"),
        ({"schedule": "constant", "values": [1, 2], "boundaries": [5]}, "one value"),
        ({"schedule": "linear", "values": [0, 2], "boundaries": [5]}, "above"),
        ({"schedule": "linear", "values": [1, "x"], "boundaries": [5]}, "a number"),
        ({"shape": "linear"}, "unknown key"),
    ],
)
def test_a_mistake_names_the_key(parts, word):
    with pytest.raises(ConfigError, match=word) as error:
        from_mapping({"algorithm": {"reward_scale": parts}})
    assert "algorithm.reward_scale" in str(error.value)


@pytest.mark.parametrize("size", [1, 2, 17])
def test_an_entropy_that_squashed_actions_cannot_have_is_refused(size):
    limit = size * math.log(2)
    schedule = f"{{schedule: linear, values: [-1, {limit + 1}], boundaries: [10]}}"
    for wanted in (f"{limit + 1e-3}", "5e3", schedule):
        with pytest.raises(ConfigError, match=rf"^algorithm\.target_entropy: must be below {limit:.3f}"):
            make_hyper(make_tiny(f"algorithm.target_entropy={wanted}"), size)
    with pytest.raises(ConfigError, match="normal prior, got 0"):
        make_hyper(make_tiny("algorithm.target_entropy=0", "algorithm.action_prior=normal"), size)
    for fine in ([f"algorithm.target_entropy={limit - 1e-3}"], ["algorithm.target_entropy=null"]):
        make_hyper(make_tiny(*fine), size)
    for other in ("algorithm.name=sac_v1", "policy.squash=false"):
        make_hyper(make_tiny("algorithm.target_entropy=5e3", other), size)
