"""What every command-line door shares: exit statuses, one-line errors, and the process settings of JAX.

Settings are made here, in the doors, and never on import of the library.
"""

import argparse
import functools
import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sacbrax import complete
from sacbrax.config import Config, ConfigError
from sacbrax.core.errors import Interrupted, RunError, one_line
from sacbrax.core.machine import address_space, cpus
from sacbrax.core.signals import Interrupt, watch
from sacbrax.parallel import processes
from sacbrax.policy_file.numpy_policy import PolicyFileError
from sacbrax.xla import cpu_threads, program_cache

ADDRESS_SPACE = 2 * 2**30  # of bytes: with 1.4 GiB JAX's import ends the process without a word, 2.4 trained here


class Parser(argparse.ArgumentParser):
    """Options and positional arguments in any order; a mistake in them is one line like every other."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does, in the words of our other mistakes; a word without an option is its own name."""
        if action.choices is not None and value not in action.choices:
            named = action if action.option_strings else None
            raise argparse.ArgumentError(named, f"unknown {value!r}; choose from {', '.join(map(str, action.choices))}")

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


def whole(lowest: int = 0, highest: int | None = None) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `lowest` to `highest`."""
    limits = {0: "not negative", 1: "positive"}[lowest] if highest is None else f"from {lowest} to {highest}"

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and lowest <= int(text) <= (highest or int(text))):
            raise argparse.ArgumentTypeError(f"expected a whole number, {limits}, got {text!r}")
        return int(text)

    return number


def duration(text: str) -> float:
    """The type of an argument that is a length of time."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, not negative, got {text!r}")
    return number


NATURAL, COUNT, SEED = whole(), whole(1), whole(0, 2**32 - 1)


def file_first(file: str | None, overrides: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file among positional arguments, None where there is none, and the `key=value` ones, in whatever order."""
    words = [word for word in (file, *overrides) if word is not None]
    first = next((word for word in words if "=" not in word or Path(word).is_file()), None)
    if first is not None:
        words.remove(first)
    return first, words


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
        except Exception as error:
            if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
                print(f"error: the memory is full: {one_line(error)}", file=sys.stderr)
                return 1
            if not processes.joined():
                raise
            processes.await_news()  # a sum over processes fails when one of them is gone
            traceback.print_exc()
            return 1

    return wrapper


def leave(status: int) -> NoReturn:
    """End the process with `status`; at once where the interpreter would wait: after a signal for device threads, after
    an error for the other processes of the run, which are to learn of it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        print(f"error: standard output: {error.strerror}", file=sys.stderr)
        os._exit(status or 1)  # the interpreter would flush once more, and say so at length
    if status > 128 or (status and processes.joined()):
        os._exit(status)
    sys.exit(status)


def cache_dir() -> Path:
    """Our folder in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sacbrax"


def _threads(config: Config) -> int | None:
    from sacbrax.envs.registry import engine_of

    return cpu_threads.threads(config, engine_of(config.env))


def prepare_jax(config: Config | None = None) -> None:
    """Import JAX for float32, with the persistent compilation cache unless `run.compilation_cache` is off, and find its
    devices. Raises `ConfigError` where there are none.

    Where the cache is, and from how many seconds of compilation on, is JAX's own to say by its environment variables.
    """
    limit = address_space()
    if limit is not None and limit < ADDRESS_SPACE:
        raise ConfigError(
            f"ulimit -v: {limit / 2**30:.1f} GiB of addresses are too few for JAX; raise it, or unlimited"
        )
    import jax

    jax.config.update("jax_enable_x64", False)
    if config is None or config.run.compilation_cache:
        folder = cache_dir() / "xla"
        ours = {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0.5}
        missing = {option: value for option, value in ours.items() if option.upper() not in os.environ}
        for option, value in missing.items():
            jax.config.update(option, value)
        if "jax_compilation_cache_dir" in missing:
            program_cache.trim(folder)
    if config is not None and config.parallel.devices != 1:  # a CPU is then as many devices; GPUs stay what they are
        count = config.parallel.processes
        wanted = config.parallel.devices
        share = 1 if count == "cluster" else int(count)
        jax.config.update("jax_num_cpu_devices", cpus() if wanted == "all" else int(wanted) // share)
    if config is not None:
        processes.join(config.parallel)
        if Interrupt.watched:
            watch()  # JAX's service for several processes takes SIGTERM for itself
    try:
        with cpu_threads.client_with(None if config is None else _threads(config)):
            jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX fails an assertion where a platform has no devices
        reason = f": {one_line(error)}" if str(error) else ""
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise ConfigError(f"JAX_PLATFORMS={platforms}: there is no such device here{reason}") from error
