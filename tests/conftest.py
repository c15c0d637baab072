"""What all tests share: strict JAX, compiled programs kept between runs, a configuration that compiles fast."""

import copy
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sacbrax import config as config_lib
from sacbrax.bench import timing
from sacbrax.config import Config

TINY: dict[str, Any] = {
    "env": {"name": "probes:Cue", "num_envs": 4, "episode_length": 5},
    "algorithm": {"gamma": 0.9, "n_step": 2, "learning_rate": 1e-3},
    "network": {"hidden_sizes": [8], "normalize_observations": True},
    "replay": {"capacity": 64},
    "train": {"total_env_steps": 96, "batch_size": 8, "updates_per_step": 2, "exploration_env_steps": 16},
    "eval": {"every_env_steps": 40, "episodes": 3},
    "run": {"compilation_cache": False},
}


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module imports JAX. One cache per worker: two processes may not write the same entry."""
    timing.compile_fast()
    root = Path(str(config.cache.mkdir("compiled"))) if hasattr(config, "cache") else Path("/tmp")
    os.environ["XDG_CACHE_HOME"] = str(root / os.environ.get("PYTEST_XDIST_WORKER", "main"))
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_compilation_cache_dir", os.environ["XDG_CACHE_HOME"] + "/sacbrax/xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs() -> Iterator[None]:
    """Compiled programs would add up to gigabytes over the suite."""
    yield
    import jax

    jax.clear_caches()


@pytest.fixture
def instead_of_python(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """instead_of_python(text) -> whatever the package starts with its own interpreter is this shell script."""

    def replace(text: str) -> None:
        script = tmp_path_factory.mktemp("script") / "python"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))

    return replace


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """tiny("train.seed=1", ...) -> the smallest useful configuration with these overrides."""
    return make_tiny


def make_tiny(*overrides: str) -> Config:
    """The smallest useful configuration: a probe environment, 4 environments, one hidden layer of 8."""
    mapping = copy.deepcopy(TINY)
    for override in overrides:
        config_lib.apply_override(mapping, override)
    return config_lib.from_mapping(mapping)
