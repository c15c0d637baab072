"""A module shaped like `mujoco_playground`, with one task whose answers are known: enough for our adapter, without MJX.

The task counts, draws a number from the key it carries at every step, writes into the dictionaries it is given as
Playground's tasks do, and observes a dictionary.
"""

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import struct

LAST = 3  # the step that ends an episode


@struct.dataclass
class State:
    """Field for field Playground's."""

    data: Any
    obs: Any
    reward: Any
    done: Any
    metrics: Any
    info: Any


@struct.dataclass
class Data:
    """Of MJX's the one array that there is."""

    qpos: Any  # [1]


class Count:
    """Pays the action for each step; the policy sees the time and its start, critics also the number drawn."""

    dt, action_size, mj_model = 0.5, 1, None

    def __init__(self, overrides: dict[str, Any]):
        self.overrides = overrides

    def reset(self, rng: Any) -> State:
        start, rng = jax.random.split(rng)
        data = Data(jax.random.uniform(start, (1,)))
        info = {"rng": rng, "time": 0, "drawn": jnp.zeros(())}
        return State(data, self._observe(data, info), *jnp.zeros(2), {"paid": 0.0}, info)

    def step(self, state: State, action: Any) -> State:
        state.info["rng"], key = jax.random.split(state.info["rng"])
        state.info["time"] += 1
        state.info["drawn"] = jax.random.uniform(key)
        state.metrics["paid"] = action[0]
        done = jnp.float32(state.info["time"] == LAST)
        return state.replace(obs=self._observe(state.data, state.info), reward=action[0], done=done)

    def _observe(self, data: Data, info: dict[str, Any]) -> dict[str, Any]:
        state = jnp.stack([jnp.float32(info["time"]), data.qpos[0]])
        return {"state": state, "privileged_state": info["drawn"] * jnp.ones((1, 3))}


def _load(task: str, config_overrides: dict[str, Any]) -> Count:
    if config_overrides.get("fetch"):
        raise OSError("cannot reach the files\nof the model")
    return Count(config_overrides)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `import mujoco_playground` find this."""
    module: Any = ModuleType("mujoco_playground")
    module.__spec__ = importlib.machinery.ModuleSpec("mujoco_playground", None)
    config = {"impl": "warp", "ctrl_dt": 0.5, "fetch": False, "episode_length": 3, "noise": {"level": 1.0}}
    module.registry = SimpleNamespace(ALL_ENVS=("Count",), get_default_config=lambda task: config, load=_load)
    module.State = State
    monkeypatch.setitem(sys.modules, "mujoco_playground", module)
