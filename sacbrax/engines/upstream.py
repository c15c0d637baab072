"""The parts of Brax and MJX this package uses, imported without their chatter.

Importing `mujoco.mjx` prints two "Failed to import warp" lines on standard output, where our commands promise to print
one JSON object, and Brax's `jaxopt` warns that it is no longer maintained. `brax.envs` imports `mujoco.mjx` as well, so
whoever needs either imports this module first.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator

import jax

from sacbrax.engines.model_warnings import unheard


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing on standard output and no warnings, MuJoCo's included."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), unheard():
        warnings.simplefilter("ignore")
        yield


with quiet():
    from brax import envs as brax_envs
    from brax.base import Motion, Transform
    from brax.envs.base import Env, State
    from mujoco import mjx

__all__ = ["Env", "Motion", "State", "Transform", "as_brax_needs", "brax_envs", "mjx", "quiet"]


@contextlib.contextmanager
def as_brax_needs() -> Iterator[None]:
    """Brax and Playground promote ranks and use what MJX deprecates, whatever the caller's code is held to."""
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
