"""MuJoCo Playground's tasks: their models, observations, rewards and terminations, unchanged.

Playground's own training wrapper goes back to one cached start per environment, keeps the rest of its state over the
end of an episode, and shows the first observation of the next episode as the last of this one. Nothing of that wrapper
is used: time limits and resets are `vector_env`'s, as for every other task.
"""

import contextlib
import importlib.util
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from sacbrax.core.errors import one_line
from sacbrax.core.types import Array, Key
from sacbrax.engines import warp
from sacbrax.engines.engine import refuse_fields
from sacbrax.engines.model_fields import arrays_of
from sacbrax.engines.upstream import Env, State, as_brax_needs, quiet
from sacbrax.envs.carried import Carrier
from sacbrax.envs.randomize import NONE, Fields, having
from sacbrax.envs.tasks import menagerie
from sacbrax.envs.tasks.playground_fused import FusedPhysics
from sacbrax.envs.vector_env import OVERFLOW, physics_precision

IMPLEMENTATIONS = {"jax": "mjx", "warp": "warp"}  # of MJX, and what our reports call them
OURS = {"episode_length": "env.episode_length", "action_repeat": "env.action_repeat"}


class PlaygroundTask(Env):
    """The task that Playground's registry has as `task`, on MJX's implementation `impl`.

    `impl` is chosen here, whatever the task's own default is: the engine "warp" is the implementation of that name, and
    with the engine "fused" that steps the mechanism instead.
    `options` replace entries of the task's configuration, inner ones by dotted names.
    """

    reset_pool: ClassVar[int] = 1024  # a reset runs the model's forward dynamics, as dear as a time step

    def __init__(self, task: str, impl: str = "jax", engine: str = "mjx", **options: Any) -> None:
        if engine == "fused" and impl == "warp":
            raise ValueError("env.kwargs: impl: must be jax with env.engine=fused")
        impl = "warp" if engine == "warp" else impl
        self.env, self.impl = load(task, impl, options), impl
        self._fused = FusedPhysics(task, self.env) if engine == "fused" else None
        # Traced once each, here, however many programs have them.
        self._own_reset, self._own_step = jax.jit(self._reset, inline=True), jax.jit(self._step, inline=True)
        action = jax.ShapeDtypeStruct((self.action_size,), jnp.float32)
        with physics_precision():
            start = jax.eval_shape(self._own_reset, jax.random.key(0), {})
            # Also of other models: what depends on what is the same where numbers differ.
            common = self._common() if impl == "warp" else {}
            self._carrier = Carrier(lambda state, action: self._own_step(state, action, {}), start, action, common)
        self._observation_size = jax.tree.map(lambda x: x.shape, start.obs)

    @property
    def model(self) -> mujoco.MjModel:
        return self.env.mj_model

    @property
    def dt(self) -> float:
        """Seconds per environment step."""
        return float(self.env.dt)

    @property
    def observation_size(self) -> Any:
        """A number, or shapes by name where the task observes a dictionary."""
        size = self._observation_size
        return size if isinstance(size, dict) else int(size[-1])

    @property
    def action_size(self) -> int:
        return int(self.env.action_size)

    @property
    def backend(self) -> str:
        return IMPLEMENTATIONS[self.impl] if self._fused is None else "fused"

    def varied_model(self) -> Any:
        """MJX's model, arrays of which `fields` may replace."""
        if self._fused is not None:
            refuse_fields()
        if self.impl != "jax":
            raise ValueError("env.randomize: Playground's tasks have one model on env.engine=warp; use env.engine=mjx")
        return self.env._mjx_model

    def reset(self, rng: Key, fields: Fields = NONE) -> State:
        """A fresh random start."""
        return self._carrier.reduced(self._own_reset(rng, dict(fields)))

    def step(self, state: State, action: Array, fields: Fields = NONE) -> State:
        """One control step of `dt` seconds; `action` [A] in [-1, 1]."""
        return self._carrier.reduced(self._own_step(self._carrier.whole(state), action, dict(fields)))

    def reseed(self, state: State, key: Key) -> State:
        """`state`, a start out of a pool, with random numbers of its own ahead: tasks draw from a key they carry."""
        carried = state.info.get("rng")
        if carried is None:
            return state
        typed = jnp.issubdtype(carried.dtype, jax.dtypes.prng_key)
        return state.replace(info=state.info | {"rng": key if typed else jax.random.key_data(key)})

    def _common(self) -> dict[str, Array]:
        """What all worlds of Warp have as one, its buffers of contacts among them, as a reset leaves it."""

        def reset(rng: Key) -> dict[str, Array]:
            arrays = arrays_of(self._own_reset(rng, {}).pipeline_state)
            return {name: leaf for name, leaf in arrays.items() if warp.shared(name)}

        # That something had no room is told of each step anew.
        return jax.device_get(jax.jit(reset)(jax.random.key(0))) | {"_impl.overflow": np.zeros((), np.int32)}

    def _reset(self, rng: Key, fields: Fields) -> State:
        with as_brax_needs(), self._engine(fields):
            return self._told(jax.tree.map(_strong, _as_brax(self.env.reset(rng))))

    def _engine(self, fields: Fields) -> contextlib.AbstractContextManager[None]:
        """In which the task's code is traced, with `fields` in its model."""
        return having(self.env, "_mjx_model", fields) if self._fused is None else self._fused.instead_of_mjx()

    def _step(self, state: State, action: Array, fields: Fields) -> State:
        """With all of MJX's data, before and after."""
        before = jax.tree.map(lambda x: x, state)  # a task writes into the dictionaries of the state it is given
        before.metrics.pop(OVERFLOW, None)
        with as_brax_needs(), self._engine(fields):
            after = self.env.step(_as_playground(before), action)
        return jax.tree.map(lambda new, old: _strong(new, old.dtype), self._told(_as_brax(after)), state)

    def _told(self, state: State) -> State:
        """With whether Warp had no room for a contact or a constraint."""
        if self.impl != "warp":
            return state
        data: Any = state.pipeline_state
        return state.replace(metrics=state.metrics | {OVERFLOW: (data._impl.overflow != 0).astype(jnp.float32)})


def load(task: str, impl: str, options: dict[str, Any]) -> Any:
    """Playground's own environment. Raises ValueError, one line, where there is none."""
    if importlib.util.find_spec("mujoco_playground") is None:
        raise ValueError("env.name: MuJoCo Playground is not installed; pip install 'sacbrax[playground]'")
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"env.kwargs: impl: unknown {impl!r}; choose from {', '.join(IMPLEMENTATIONS)}")
    if impl == "warp":
        warp.check()
    with quiet():
        from mujoco_playground import dm_control_suite, registry

    if task not in registry.ALL_ENVS:
        raise ValueError(f"env.name: playground has no {task!r}; choose from {', '.join(sorted(registry.ALL_ENVS))}")
    known = sorted(set(registry.get_default_config(task)) - {"impl", *OURS})
    for name in options:
        if name in OURS:
            raise ValueError(f"env.kwargs: {name}: set {OURS[name]} instead")
        if name.partition(".")[0] not in known:
            raise ValueError(f"env.kwargs: {name}: unknown for playground:{task}; choose from {', '.join(known)}")
    needs_files = task not in dm_control_suite.ALL_ENVS
    if needs_files:
        menagerie.choose()
    try:
        with quiet():
            return registry.load(task, config_overrides={"impl": impl, **options})
    except Exception as error:
        line = menagerie.why(error, one_line(error)) if needs_files else one_line(error)
        raise ValueError(f"env.name: playground:{task} cannot be made: {line}") from error


def _as_brax(state: Any) -> State:
    return State(state.data, state.obs, state.reward, state.done, state.metrics, state.info)


def _as_playground(state: State) -> Any:
    from mujoco_playground import State as PlaygroundState

    return PlaygroundState(state.pipeline_state, state.obs, state.reward, state.done, state.metrics, state.info)


def _strong(x: Any, dtype: Any = None) -> Array:
    """An array of `dtype`, its own if None, that no longer counts as a plain Python number; keys stay as they are."""
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    return jnp.asarray(x, jnp.result_type(x) if dtype is None else dtype)
