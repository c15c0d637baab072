"""One look at an environment that is not ours, before anything is compiled: are its sizes, shapes and types what a loop
can carry? Its functions are traced, not run.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.config import ConfigError
from sacbrax.engines.upstream import Env, State


def check(name: str, env: Env) -> None:
    """Raise `ConfigError` that names the field, what it was and what it should be.

    What the environment itself raises keeps its traceback, which ends with it.
    """

    def wrong(what: str, was: Any, should: str) -> ConfigError:
        return ConfigError(f"env.name: {what} of {name} is {was}, should be {should}")

    sizes: dict[str, Any] = {"observation_size": env.observation_size, "action_size": env.action_size}
    for name_of_size, value in sizes.items():
        if isinstance(value, Mapping) and name_of_size == "observation_size":
            continue  # a dictionary of arrays, which has a check of its own
        if not _whole(value):
            raise wrong(name_of_size, repr(value), "a whole number from 1 on")
    seen = getattr(env, "actor_observation_size", None)
    size = env.observation_size
    if seen is not None and not isinstance(size, Mapping) and not (_whole(seen) and seen <= size):
        raise wrong("actor_observation_size", repr(seen), f"a whole number from 1 to {size}")
    action = jax.ShapeDtypeStruct((int(env.action_size),), jnp.float32)
    try:
        start = jax.eval_shape(env.reset, jax.random.key(0))
        if not isinstance(start, State):
            raise wrong("the result of reset", type(start).__name__, "a brax.envs.State")
        after = jax.eval_shape(env.step, start, action)
    except Exception as error:
        getattr(error, "__notes__", []).clear()  # JAX's, on how it shortened the traceback
        raise
    if not isinstance(after, State):
        raise wrong("the result of step", type(after).__name__, "a brax.envs.State")
    for field in ("reward", "done"):
        if not _floats(getattr(start, field), ()):
            raise wrong(f"{field} in reset", _show(getattr(start, field)), "one float, such as jnp.zeros(())")
    if not isinstance(size, Mapping) and not _floats(start.obs, (size,)):
        raise wrong("obs in reset", _show(start.obs), f"floats [{size}] as observation_size says")
    before, then = _leaves(start), _leaves(after)
    for field in [*before, *then]:
        was, should = _show(then.get(field)), _show(before.get(field))
        if was != should:
            raise wrong(f"{field} in step", was, f"{should} as in reset")


def _whole(value: Any) -> bool:
    """Whether it is a whole number from 1 on."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


def _floats(value: Any, shape: tuple[int, ...]) -> bool:
    return getattr(value, "shape", None) == shape and jnp.issubdtype(value.dtype, jnp.floating)


def _leaves(state: State) -> dict[str, Any]:
    """Arrays by where they are, such as `info['steps']`."""
    return {jax.tree_util.keystr(path)[1:]: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def _show(value: Any) -> str:
    """Type and shape of an array, `float32 [3]`."""
    if value is None:
        return "absent"
    if not hasattr(value, "shape"):
        return type(value).__name__
    return f"{value.dtype} [{', '.join(map(str, value.shape))}]"
