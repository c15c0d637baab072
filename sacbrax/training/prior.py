"""Transitions from before the run, of which half of every minibatch is (RLPD, arXiv:2302.02948): the file and its rows.

The file is an .npz without pickle of M transitions, those of an episode one after another:

    observation [M, O], action [M, A] in [-1, 1], reward [M], discount [M] (1, or 0 where the task terminated),
    next_observation [M, O], first [M] (the row does not continue the one before it); task, JSON, may be left out

Knows no run directory; `sacbrax.replay` writes such files.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.config import Config, ConfigError
from sacbrax.core.errors import MachineError, one_line
from sacbrax.parallel.shards import Shards
from sacbrax.training.replay import ReplayState, encode

FIELDS = ("observation", "action", "next_observation", "reward", "discount", "first")  # as a row of replay has them
TASK = "task"


def task_of(config: Config) -> dict[str, Any]:
    """What decides what observations, actions and rewards mean."""
    env = config.env
    task = {"name": env.name, "links": env.links, "kwargs": env.kwargs, "action_repeat": env.action_repeat}
    return task | {"action_gain": config.policy.action_gain}


def load(config: Config, observation_size: int, action_size: int) -> np.ndarray:
    """The rows of `replay.prior`, float32 [M, 2 O + A + 3]. Raises `ConfigError` for a file that cannot serve."""
    path = config.replay.prior
    assert path is not None
    try:
        with (
            Path(path).open("rb") as opened,
            np.load(opened, allow_pickle=False) as file,
        ):
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise MachineError(f"replay.prior: {path} cannot be read: {error.strerror or one_line(error)}") from None
    except (ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile):  # NumPy would speak of pickles, or of .npy
        raise _wrong(path, "is no whole .npz file of arrays") from None
    if missing := [name for name in FIELDS if name not in arrays]:
        raise _wrong(path, f"has no {missing[0]}; needed are {', '.join(FIELDS)}")
    count = len(np.atleast_1d(arrays["reward"]))
    sizes = {"observation": (observation_size,), "next_observation": (observation_size,), "action": (action_size,)}
    for name in FIELDS:
        array, shape = arrays[name], (count, *sizes.get(name, ()))
        if array.shape != shape:
            raise _wrong(path, f"{name} has shape {list(array.shape)}, this task needs {list(shape)}")
        if array.dtype.kind not in "fiub":
            raise _wrong(path, f"{name} holds {array.dtype}, no numbers")
        with np.errstate(over="ignore"):
            arrays[name] = array.astype(np.float32)
        if not np.isfinite(arrays[name]).all():
            raise _wrong(path, f"{name} has numbers that are not finite")
    if count == 0:
        raise _wrong(path, "has no transitions")
    if (largest := np.abs(arrays["action"]).max()) > 1:
        raise _wrong(path, f"action must lie in [-1, 1], its largest size is {largest:g}")
    for name in ("discount", "first"):
        if not np.isin(arrays[name], (0.0, 1.0)).all():
            raise _wrong(path, f"{name} must be 0 or 1 everywhere")
    _check_task(config, path, arrays)
    if (clip := config.env.reward_clip) is not None:
        arrays["reward"] = np.clip(arrays["reward"], -clip, clip)
    arrays["first"][0] = 1.0
    return np.concatenate([arrays[name].reshape(count, -1) for name in FIELDS], axis=1)


def _check_task(config: Config, path: str, arrays: dict[str, np.ndarray]) -> None:
    if TASK not in arrays:
        return
    try:
        theirs = dict(json.loads(str(arrays[TASK])))
    except (ValueError, TypeError):
        raise _wrong(path, "task is no JSON object") from None
    for name, ours in task_of(config).items():
        if name in theirs and theirs[name] != ours:
            key = f"policy.{name}" if name == "action_gain" else f"env.{name}"
            raise _wrong(path, f"is of {key} {theirs[name]!r}, this run has {ours!r}")


def _wrong(path: str, problem: str) -> ConfigError:
    return ConfigError(f"replay.prior: {path} {problem}")


def share(rows: np.ndarray, shards: Shards) -> int:
    """Rows of each shard; what does not divide is left out. Raises `ConfigError` where a shard would have none."""
    if len(rows) < shards.count:
        raise ConfigError(f"replay.prior: {len(rows)} transitions are too few for {shards.count} shards")
    return shards.share(len(rows))


def empty(rows: np.ndarray, shards: Shards, observation_size: int, action_size: int, dtype: Any) -> ReplayState:
    """Of one shard, with room for its rows: a ring that is full and never written to."""
    size = share(rows, shards)
    return ReplayState(
        rows=encode(jnp.zeros((size, rows.shape[1])), dtype),
        insert_index=jnp.zeros((), jnp.int32),
        size=jnp.full((), size, jnp.int32),
        observation_size=observation_size,
        action_size=action_size,
        num_envs=1,  # the row after a row is the next one
    )


def put(state: Any, rows: np.ndarray, shards: Shards, dtype: Any) -> Any:
    """A fresh training state with the rows in place, the same in every seed."""
    size = share(rows, shards)
    parts = rows[: size * shards.count].reshape(shards.count, size, -1).copy()
    parts[:, 0, -1] = 1.0  # nothing comes before the first row of a part
    parts = parts if shards.count > 1 else parts[0]
    stored, old = np.asarray(encode(jnp.asarray(parts), dtype)), state.prior.rows
    return state.replace(
        prior=state.prior.replace(rows=jax.device_put(np.broadcast_to(stored, old.shape), old.sharding))
    )
