"""JAX's environment variables, each in a process of its own that trains nothing: obeyed, or one line that says why."""

import os
import subprocess
import sys

import pytest

SHOW = """
from sacbrax import cli
@cli.guarded
def main() -> int:
    cli.prepare_jax()
    import jax
    config = jax.config
    print(config.jax_compilation_cache_dir, config.jax_persistent_cache_min_compile_time_secs, jax.numpy.ones(()).dtype)
    return 0
cli.leave(main())
"""


def prepared(**variables: str) -> tuple[int, str, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    environment |= {"JAX_PLATFORMS": "cpu"} | variables
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_platform_that_is_not_here_is_one_line(platform: str) -> None:
    status, out, errors = prepared(JAX_PLATFORMS=platform)
    if status == 0:
        pytest.skip("it is here")
    *_, line = errors.splitlines()  # a plugin of JAX's may have complained before
    assert (status, out) == (2, "")
    assert line.startswith(f"error: JAX_PLATFORMS={platform}: there is no such device here")
    assert "Traceback" not in errors


def test_the_cache_is_where_the_user_says_and_numbers_are_float32() -> None:
    home = {"XDG_CACHE_HOME": "/nowhere"}
    assert prepared(**home)[1].split() == ["/nowhere/sacbrax/xla", "0.5", "float32"]
    own = {"JAX_COMPILATION_CACHE_DIR": "/mine", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "7"}
    assert prepared(**home, **own, JAX_ENABLE_X64="1")[1].split() == ["/mine", "7.0", "float32"]


def test_too_few_addresses_are_one_line() -> None:
    few = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1_500_000 * 1024,) * 2)\n"
    done = subprocess.run([sys.executable, "-c", few + SHOW], capture_output=True, text=True, check=False)
    line = "error: ulimit -v: 1.4 GiB of addresses are too few for JAX; raise it, or unlimited\n"
    assert (done.returncode, done.stderr) == (2, line)
