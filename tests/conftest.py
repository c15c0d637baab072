"""What all tests share: strict JAX, compiled programs kept between runs, a configuration that compiles fast."""

import gc
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slow_tests import choose
from tiny_config import make_tiny

from sacbrax.bench import timing
from sacbrax.config import Config

PROGRAMS_UP_TO = 2 * 2**30  # bytes of a worker


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module imports JAX. One cache per worker: two processes may not write the same entry."""
    timing.compile_fast()
    # Programs are small and the workers as many as the cores: a program cut into parts takes a fifth longer in all.
    timing.add_xla_flag("--xla_cpu_parallel_codegen_split_count=1")
    root = Path(str(config.cache.mkdir("compiled"))) if hasattr(config, "cache") else Path("/tmp")
    os.environ["XDG_CACHE_HOME"] = str(root / os.environ.get("PYTEST_XDIST_WORKER", "main"))
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_compilation_cache_dir", os.environ["XDG_CACHE_HOME"] + "/sacbrax/xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    # Tracing makes many small objects that stay: with Python's own thresholds a tenth of the time is spent on looking.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", choices=("decides", "others"), help="of the tests, those in tests/decides.txt, or not")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if which := config.getoption("--slow"):
        items[:], left_out = choose(items, which)
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs() -> Iterator[None]:
    """Compiled programs would add up to gigabytes over the suite; single operations serve many modules."""
    yield
    if resident_bytes() > PROGRAMS_UP_TO:
        import jax

        jax.clear_caches()


def resident_bytes() -> float:
    """What this process holds in memory now; infinite where the system does not tell."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else math.inf


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
