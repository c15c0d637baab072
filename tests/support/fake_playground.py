"""A module shaped like `mujoco_playground`, with one task whose answers are known: enough for our adapter, without MJX.

The task counts, draws a number from the key it carries at every step, writes into the dictionaries it is given as
Playground's tasks do, and observes a dictionary.
"""

import importlib.machinery
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import struct

LAST = 3  # the step that ends an episode
FAILURES = {  # what `fetch` may name
    "network": OSError("cannot reach the files\nof the model"),
    "no git": FileNotFoundError(2, "No such file or directory", "git"),
    "clone": subprocess.CalledProcessError(128, ["git", "clone"]),
    "mesh": ValueError("Error: Error opening file 'trunk.stl'\nElement 'mesh', line 3"),
}


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
class Option:
    """Of MJX's."""

    gravity: Any  # [3]


@struct.dataclass
class Model:
    """Of MJX's two arrays."""

    body_mass: Any  # [2]
    opt: Option

    def tree_replace(self, fields: dict[str, Any]) -> Any:
        """With other masses."""
        return self.replace(**fields)  # type: ignore[attr-defined]


@struct.dataclass
class Data:
    """Of MJX's one array that a step reads, and one that it computes anew; and a method with a name of ours."""

    qpos: Any  # [1]
    xpos: Any  # [100, 3]

    def fields(self) -> Any:
        """As MJX's have it."""
        raise NotImplementedError


class Count:
    """Pays the action times the mass of body 1, nominally 1, for each step; the policy sees the time and its start,
    critics also the number drawn."""

    dt, action_size, mj_model = 0.5, 1, None

    def __init__(self, overrides: dict[str, Any]):
        self.overrides = overrides
        self._mjx_model = Model(jnp.ones(2), Option(jnp.array([0.0, 0.0, -9.8])))

    def reset(self, rng: Any) -> State:
        start, rng = jax.random.split(rng)
        qpos = jax.random.uniform(start, (1,))
        data = Data(qpos, jnp.full((100, 3), qpos))
        info = {"rng": rng, "time": 0, "drawn": jnp.zeros(())}
        return State(data, self._observe(data, info), *jnp.zeros(2), {"paid": 0.0}, info)

    def step(self, state: State, action: Any) -> State:
        state.info["rng"], key = jax.random.split(state.info["rng"])
        state.info["time"] += 1
        state.info["drawn"] = jax.random.uniform(key)
        paid = action[0] * self._mjx_model.body_mass[1]
        state.metrics["paid"] = paid
        done = jnp.float32(state.info["time"] == LAST)
        state = state.replace(data=state.data.replace(xpos=jnp.full((100, 3), state.data.qpos)))
        return state.replace(obs=self._observe(state.data, state.info), reward=paid, done=done)

    def _observe(self, data: Data, info: dict[str, Any]) -> dict[str, Any]:
        state = jnp.stack([jnp.float32(info["time"]), data.qpos[0]])
        return {"state": state, "privileged_state": info["drawn"] * jnp.ones((1, 3))}


def domain_randomize(model: Model, rng: Any) -> tuple[Any, Any]:
    """In Playground's form: masses of body 1 from 2 to 3, for keys [N]."""

    @jax.vmap
    def drawn(rng: Any) -> Any:
        return model.body_mass.at[1].set(jax.random.uniform(rng, minval=2.0, maxval=3.0))

    axes = jax.tree.map(lambda x: None, model)
    return model.tree_replace({"body_mass": drawn(rng)}), axes.tree_replace({"body_mass": 0})


def masses(key: Any) -> dict[str, Any]:
    """The same by name."""
    return {"body_mass": jnp.stack([1.0, jax.random.uniform(key, minval=2.0, maxval=3.0)])}


def _load(task: str, config_overrides: dict[str, Any]) -> Count:
    if failure := config_overrides.get("fetch"):
        raise FAILURES[failure]
    return Count(config_overrides)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `import mujoco_playground` find this."""
    module: Any = ModuleType("mujoco_playground")
    module.__spec__ = importlib.machinery.ModuleSpec("mujoco_playground", None)
    config = {"impl": "warp", "ctrl_dt": 0.5, "fetch": None, "episode_length": 3, "noise": {"level": 1.0}}
    module.registry = SimpleNamespace(ALL_ENVS=("Count",), get_default_config=lambda task: config, load=_load)
    module.State = State
    module.dm_control_suite = SimpleNamespace(ALL_ENVS=())
    place: Any = ModuleType("mujoco_playground._src.mjx_env")
    place.MENAGERIE_PATH, place.MENAGERIE_COMMIT_SHA = Path("/installed/mujoco_menagerie"), "5ha"
    monkeypatch.setitem(sys.modules, "mujoco_playground", module)
    monkeypatch.setitem(sys.modules, "mujoco_playground._src.mjx_env", place)
