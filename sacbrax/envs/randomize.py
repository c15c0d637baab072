"""Models that differ from start to start, `env.randomize`.

A function names what is drawn, in one of two forms:

    draw(key) -> {"opt.density": ..., ...}            fields of one model by MuJoCo's names
    randomize(model, keys [N]) -> (models, in_axes)   Brax's and Playground's own form

Both become the first. An environment carries the fields of its episode and steps the model that has them.
"""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.config import ConfigError
from sacbrax.core.types import Array, Key
from sacbrax.engines import model_fields
from sacbrax.engines.upstream import Env, State, as_brax_needs
from sacbrax.envs import curriculum
from sacbrax.envs.wrappers import Wrapper, takes_curriculum

Fields = Mapping[str, Array]
NONE: Fields = MappingProxyType({})


def randomized(env: Env, name: str, function: Callable[..., Any]) -> Env:
    """`env` with a model of its own at every start, which `function` draws. `name` stands for it in messages.

    Raises `ConfigError` where the task has one model, ValueError for a field that it has not.
    """
    task: Any = env.unwrapped
    form = len([p for p in inspect.signature(function).parameters.values() if _required(p)])
    if form not in (1, 2):
        raise ConfigError(f"env.randomize: {name} takes {form} arguments; choose a function of (key) or (model, keys)")
    varies = hasattr(task, "varied_model")
    if not varies and not has_fields(env):
        raise ConfigError(
            "env.randomize: this task has no place for model fields; swimmers, *_v5, Brax's and playground: tasks have"
        )
    model = task.varied_model() if varies else getattr(getattr(task, "engine", None), "model", None)
    if form == 2 and not hasattr(model, "tree_replace"):
        raise ConfigError(f"env.randomize: {name} takes (model, keys), which needs a model of MJX; use env.engine=mjx")
    draw = function if form == 1 else of_one_model(function, model)
    if not varies:
        return Randomized(env, draw)
    return _around(env, Varied(task, draw))


def check(env: Env, numbers: Mapping[str, float] | None) -> None:
    """Raise ValueError, one line, where `env` cannot have what is drawn. numbers: a curriculum's, if there is one."""
    given = {} if numbers is None else {curriculum.ARGUMENT: {name: jnp.float32(x) for name, x in numbers.items()}}
    start = jax.eval_shape(lambda key: env.reset(key, **given), jax.random.key(0))
    jax.eval_shape(env.step, start, jax.ShapeDtypeStruct((int(env.action_size),), jnp.float32))


def has_fields(env: Env) -> bool:
    """Whether the physics of `env` carries fields of the model."""
    physics = jax.eval_shape(env.reset, jax.random.key(0)).pipeline_state
    return isinstance(getattr(physics, "fields", None), Mapping)  # MJX's own data have a method of this name


def of_one_model(function: Callable[..., Any], model: Any) -> Callable[..., Fields]:
    """What Brax's form changes of `model`, for one key."""
    own = model_fields.arrays_of(model)

    def draw(key: Key, **given: Any) -> Fields:
        with as_brax_needs():
            models, axes = function(model, key[None], **given)
        varied = model_fields.arrays_of(axes)  # None is no leaf
        if unknown := sorted(set(varied) - set(own)):
            raise ValueError(f"env.randomize: in_axes has {unknown[0]}, which is no array of the model")
        if wrong := [name for name, axis in varied.items() if axis != 0]:
            raise ValueError(f"env.randomize: in_axes of {wrong[0]} is {varied[wrong[0]]}; choose 0 or None")
        arrays = model_fields.arrays_of(models)
        fields = {name: arrays[name][0] for name in varied}
        fields |= {name: array for name, array in arrays.items() if name not in varied and array is not own.get(name)}
        return {name: jnp.asarray(value, own[name].dtype) for name, value in fields.items()}

    if curriculum.takes(function):
        return lambda key, curriculum: draw(key, curriculum=curriculum)
    return draw


class Drawing(Wrapper):
    """Every start has what `draw` gives from a key, such as {"opt.density": ...}, and the environment's own start.

    There is no pool of starts unless one is asked for: few models would serve for a whole epoch.
    """

    def __init__(self, env: Any, draw: Callable[..., Fields]) -> None:
        super().__init__(env)
        self._draw = draw
        self._draws_by_curriculum, self._starts_by_curriculum = curriculum.takes(draw), takes_curriculum(env)

    @property
    def reset_pool(self) -> int:
        return 0

    @property
    def takes_curriculum(self) -> bool:
        return self._draws_by_curriculum or self._starts_by_curriculum

    def _drawn(self, key: Key, given: Mapping[str, Any]) -> dict[str, Array]:
        fields = self._draw(key, **(given if self._draws_by_curriculum else {}))
        if not isinstance(fields, Mapping):
            raise ConfigError(
                f"env.randomize: the function gave a {type(fields).__name__}, expected a dictionary of field names and "
                "values"
            )
        return {name: jnp.asarray(value) for name, value in fields.items()}

    def _own(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return given if self._starts_by_curriculum else {}


class Randomized(Drawing):
    """For tasks of our engines, whose physics carries fields of the model in `fields`; an engine refuses those that it
    cannot change. One whose observation of a start depends on the model has a `restart(state)` that observes anew."""

    def reset(self, rng: Key, **given: Any) -> State:
        """A fresh start of a fresh model."""
        rng, draw_key = jax.random.split(rng)
        state = self.env.reset(rng, **self._own(given))
        fields = {name: jnp.asarray(value, jnp.float32) for name, value in self._drawn(draw_key, given).items()}
        state = state.replace(pipeline_state=state.pipeline_state.replace(fields=fields))
        restart: Callable[[State], State] | None = getattr(self.unwrapped, "restart", None)
        return state if restart is None else restart(state)


class Several(struct.PyTreeNode):
    """A task's physics beside what its model has of its own."""

    physics: Any
    fields: dict[str, Array]


class Varied(Drawing):
    """For tasks that step MJX themselves, Brax's and Playground's: their `reset` and `step` take `fields`."""

    def reset(self, rng: Key, **given: Any) -> State:
        """A fresh start of a fresh model."""
        rng, draw_key = jax.random.split(rng)
        fields = self._drawn(draw_key, given)
        state = self.env.reset(rng, fields)
        return state.replace(pipeline_state=Several(state.pipeline_state, fields))

    def step(self, state: State, action: Array) -> State:
        """With the model of the start."""
        carried: Any = state.pipeline_state
        after = self.env.step(state.replace(pipeline_state=carried.physics), action, carried.fields)
        return after.replace(pipeline_state=Several(after.pipeline_state, carried.fields))


@contextlib.contextmanager
def having(owner: Any, attribute: str, fields: Fields) -> Iterator[None]:
    """While it lasts, the model that `owner` has in `attribute` has `fields`: as Brax's and Playground's own
    randomization does it, for their tasks read the model from there."""
    if not fields:
        yield
        return
    own = getattr(owner, attribute)
    setattr(owner, attribute, model_fields.replaced(own, fields))
    try:
        yield
    finally:
        setattr(owner, attribute, own)


def _required(parameter: inspect.Parameter) -> bool:
    positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    return positional and parameter.default is parameter.empty and parameter.name != curriculum.ARGUMENT


def _around(env: Env, task: Env) -> Env:
    """The wrappers of `env` around `task`."""
    if not isinstance(env, Wrapper):
        return task
    outer = copy.copy(env)
    outer.env = _around(env.env, task)
    return outer
