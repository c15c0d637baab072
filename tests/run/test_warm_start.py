"""What a warm start takes along beside parameters: the observation normalizer, to the number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax.agents.normalizer import Normalizer
from sacbrax.agents.registry import make_agent
from sacbrax.config import Config, ConfigError
from sacbrax.policy_file import files as policy_files
from sacbrax.run import warm_start
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]


def test_the_normalizer_comes_along(tiny: Tiny, tmp_path: Path) -> None:
    """Mean, variance, mean reward and age; networks see the same numbers as in the source."""
    config, path = tiny(), tmp_path / "policy.npz"
    trainer = Trainer(config)
    state = trainer.init(jax.random.key(0), trainer.hyper())
    source = state.normalizer.replace(
        mean=jnp.array([3.0, -1.0]),
        variance=jnp.array([4.0, 0.01]),
        reward_mean=jnp.float32(7.0),
        steps=jnp.int32(50),
    )
    params = dict(state.agent.params)
    policy_files.save(path, config, params.pop("actor"), source, (2, 2), {}, params)
    warm = tiny(f"init.from={path}")
    loaded = warm_start.load(warm, jax.eval_shape(trainer.init, jax.random.key(1), trainer.hyper()))
    normalizer = warm_start.apply(Trainer(warm).init(jax.random.key(1), Trainer(warm).hyper()), loaded).normalizer
    np.testing.assert_allclose(normalizer.mean, source.mean)
    np.testing.assert_allclose(normalizer.variance, source.variance, rtol=1e-3)
    assert (float(normalizer.reward_mean), int(normalizer.steps)) == (7.0, 50)
    observation = jnp.array([[2.0, -1.05], [9.0, -0.9]])
    np.testing.assert_allclose(normalizer(observation), source(observation), rtol=1e-3)
    assert normalizer.steps.dtype == state.normalizer.steps.dtype


def test_a_source_that_observes_something_else_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Also where the part that is taken has the same shape in both."""
    config, path = tiny(), tmp_path / "policy.npz"
    trainer = Trainer(config)
    params = make_agent(config, 3, 2).init(jax.random.key(0), trainer.hyper()).params
    policy_files.save(path, config, params.pop("actor"), Normalizer.create(3), (3, 2), {}, params)
    warm = tiny(f"init.from={path}", "init.parts=[temperature]")
    with pytest.raises(ConfigError, match=r"^init\.from: .*policy\.npz observes 3 numbers, this task 2$"):
        warm_start.load(warm, jax.eval_shape(trainer.init, jax.random.key(1), trainer.hyper()))


def test_a_source_that_is_not_there_is_the_keys_mistake(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^init\.from: .*nowhere: no run directory, policy file"):
        warm_start.load(tiny(f"init.from={tmp_path / 'nowhere'}"), cast(Any, None))
