"""What every command-line door shares: exit statuses, one-line errors, and the process settings of JAX.

Settings are made here, in the doors, and never on import of the library.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from sacbrax.config import Config, ConfigError
from sacbrax.numpy_policy import PolicyFileError


def guarded(main: Callable[..., int]) -> Callable[..., int]:
    """A user's mistake becomes one line on standard error and status 2; an interrupt becomes 130."""

    @functools.wraps(main)
    def wrapper(*args: object, **kwargs: object) -> int:
        try:
            return main(*args, **kwargs)
        except (ConfigError, PolicyFileError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130

    return wrapper


def prepare_jax(config: Config | None = None) -> None:
    """Import JAX with the persistent compilation cache, unless `run.compilation_cache` is off."""
    import jax

    if config is None or config.run.compilation_cache:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(base / "sacbrax" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
