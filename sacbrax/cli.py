"""What every command-line door shares: exit statuses, one-line errors, and the process settings of JAX.

Settings are made here, in the doors, and never on import of the library.
"""

import argparse
import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from sacbrax import complete
from sacbrax.config import Config, ConfigError
from sacbrax.core.errors import Interrupted, RunError
from sacbrax.core.machine import cpus
from sacbrax.parallel import processes
from sacbrax.policy_file.numpy_policy import PolicyFileError


class Parser(argparse.ArgumentParser):
    """Options and positional arguments in any order; a mistake in them is one line like every other."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """As argparse does, unless a shell asks how the line could go on."""
        if complete.wanted():
            complete.answer(self)
        return super().parse_args(*args, **kwargs)

    def parse_intermixed_args(self, *args: Any, **kwargs: Any) -> Any:
        """As argparse does, unless a shell asks how the line could go on."""
        if complete.wanted():
            complete.answer(self)
        return super().parse_intermixed_args(*args, **kwargs)


def guarded(main: Callable[..., int]) -> Callable[..., int]:
    """A failure becomes one line on standard error and status 2 (a mistake) or 1; a signal becomes 128 + its number."""

    @functools.wraps(main)
    def wrapper(*args: object, **kwargs: object) -> int:
        try:
            return main(*args, **kwargs)
        except (ConfigError, PolicyFileError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except RunError as error:
            processes.await_news()  # what went wrong may be that another process of the run is gone
            print(f"error: {error}", file=sys.stderr)
            return 1
        except Interrupted as interrupted:
            return 128 + interrupted.signal
        except KeyboardInterrupt:
            return 130
        except Exception:
            if not processes.joined():
                raise
            processes.await_news()  # a sum over processes fails when one of them is gone
            traceback.print_exc()
            return 1

    return wrapper


def leave(status: int) -> NoReturn:
    """End the process with `status`; at once where the interpreter would wait: after a signal for device threads, after
    an error for the other processes of the run, which are to learn of it."""
    if status > 128 or (status and processes.joined()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def cache_dir() -> Path:
    """Our folder in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sacbrax"


def prepare_jax(config: Config | None = None) -> None:
    """Import JAX with the persistent compilation cache, unless `run.compilation_cache` is off."""
    import jax

    if config is None or config.run.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if config is not None and config.parallel.devices != 1:  # a CPU is then as many devices; GPUs stay what they are
        count = config.parallel.processes
        wanted = config.parallel.devices
        share = 1 if count == "cluster" else int(count)
        jax.config.update("jax_num_cpu_devices", cpus() if wanted == "all" else int(wanted) // share)
    if config is not None:
        processes.join(config.parallel)
