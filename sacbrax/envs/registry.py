"""Environments by name. A new task is one new file and one line in `ENVS`.

`playground:NAME` is a task of MuJoCo Playground. Any other name with a colon, `my_pkg.my_env:MyEnv`, is imported: any
class that implements `brax.envs.Env`.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import mujoco

from sacbrax.config import ConfigError, EnvConfig
from sacbrax.config.named import ENGINES
from sacbrax.config.sections import PLAYGROUND
from sacbrax.core.types import Key
from sacbrax.engines.upstream import Env, State
from sacbrax.envs import randomize
from sacbrax.envs.contract import check
from sacbrax.envs.curriculum import Curriculum
from sacbrax.envs.vector_env import physics_precision
from sacbrax.envs.wrappers import ActionRepeat, FlatObservation, takes_curriculum
from sacbrax.xla.compiler_options import older_fusions

ENVS = {
    "swimmer": "sacbrax.envs.tasks.swimmer:Swimmer",
    "swimmer_rllab": "sacbrax.envs.tasks.swimmer:RllabSwimmer",
    "ant": "sacbrax.envs.tasks.brax:Ant",
    "halfcheetah": "sacbrax.envs.tasks.brax:HalfCheetah",
    "hopper": "sacbrax.envs.tasks.brax:Hopper",
    "humanoid": "sacbrax.envs.tasks.brax:Humanoid",
    "humanoidstandup": "sacbrax.envs.tasks.brax:HumanoidStandup",
    "inverted_pendulum": "sacbrax.envs.tasks.brax:InvertedPendulum",
    "inverted_double_pendulum": "sacbrax.envs.tasks.brax:InvertedDoublePendulum",
    "pusher": "sacbrax.envs.tasks.brax:Pusher",
    "reacher": "sacbrax.envs.tasks.brax:Reacher",
    "walker2d": "sacbrax.envs.tasks.brax:Walker2d",
    "ant_v5": "sacbrax.envs.tasks.gymnasium:Ant",
    "halfcheetah_v5": "sacbrax.envs.tasks.gymnasium:HalfCheetah",
    "hopper_v5": "sacbrax.envs.tasks.gymnasium:Hopper",
    "humanoid_v5": "sacbrax.envs.tasks.gymnasium:Humanoid",
    "humanoidstandup_v5": "sacbrax.envs.tasks.gymnasium:HumanoidStandup",
    "inverted_pendulum_v5": "sacbrax.envs.tasks.gymnasium:InvertedPendulum",
    "inverted_double_pendulum_v5": "sacbrax.envs.tasks.gymnasium:InvertedDoublePendulum",
    "pusher_v5": "sacbrax.envs.tasks.gymnasium:Pusher",
    "reacher_v5": "sacbrax.envs.tasks.gymnasium:Reacher",
    "walker2d_v5": "sacbrax.envs.tasks.gymnasium:Walker2d",
}
PLAYGROUND_ENGINE = "mjx"  # where the configuration names none
LONG_CHAIN = 5  # bodies from the world to the last; the walkers have 4, the humanoids 5 and 6, the pushers 7 and 10
MANY_BODIES = 13  # that move: Go1 and Gymnasium's ant have as many, a walker 7


def make_env(name: str, engine: str | None = None, **kwargs: Any) -> Env:
    """One environment (`reset(key)`, `step(state, action)`; the caller vmaps); `kwargs` go to its class.

    A class with an `engine` argument, as ours have, is given what makes the engine of its model, by default of the one
    that its `default_engine` names. One without brings its own physics, and `engine` does not concern it. Its
    observation is one array.
    """
    env = _playground(name, engine, **kwargs) if name.startswith(PLAYGROUND) else _instance(name, engine, **kwargs)
    return FlatObservation(env) if isinstance(env.observation_size, Mapping) else env


def _playground(name: str, engine: str | None, **kwargs: Any) -> Env:
    from sacbrax.envs.tasks.playground import PlaygroundTask

    return PlaygroundTask(name.removeprefix(PLAYGROUND), engine=engine or PLAYGROUND_ENGINE, **kwargs)


def _instance(name: str, engine: str | None, **kwargs: Any) -> Env:
    """Of a registered or imported class."""
    cls = _load("env.name", name, ENVS, imports=True)
    if not (inspect.isclass(cls) and issubclass(cls, Env)):
        raise ConfigError(f"env.name: {name!r} is no class that implements brax.envs.Env")
    signature = inspect.signature(cls)
    options = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for key in kwargs:
        if key == "engine" or (key not in options and not open_ended):
            choices = ", ".join(option for option in options if option != "engine") or "no options"
            raise ConfigError(f"env.{key}: unknown for {name!r}; choose from {choices}")
    _check_engine(name, cls, engine, "engine" in options)
    if "engine" in options:
        kwargs["engine"] = _load("env.engine", engine or _default_engine(cls), ENGINES)
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        raise ConfigError(f"env.kwargs: {name!r}: {error}") from None
    if name in ENVS:
        return cls(**kwargs)
    env = cls(**kwargs)  # whose errors are its own, and keep their traceback
    check(name, env)
    return env


def _check_engine(name: str, cls: type, engine: str | None, takes_engines: bool) -> None:
    """Raise ConfigError for an engine that does not step the task."""
    engines = getattr(cls, "engines", ENGINES) if name in ENVS else ENGINES
    if engine is not None and engine not in ENGINES:
        raise ConfigError(f"env.engine: unknown {engine!r}; choose from {', '.join(engines)}")
    if engine is not None and engine not in engines:
        raise ConfigError(f"env.engine: {engine} does not step {name!r}; choose {' or '.join(engines)}")
    if engine == "warp" and not takes_engines:
        raise ConfigError(f"env.engine: warp does not step {name!r}, which brings its own physics; leave it null")


def engine_of(config: EnvConfig) -> str:
    """The engine that a configuration means; of a class of the user's what it says, or "fused"."""
    if config.engine is not None:
        return config.engine
    if config.name not in ENVS:
        return PLAYGROUND_ENGINE if config.name.startswith(PLAYGROUND) else "fused"
    return _default_engine(_load("env.name", config.name, ENVS))


def _default_engine(cls: type) -> str:
    return str(getattr(cls, "default_engine", "fused"))


def from_config(config: EnvConfig, engine: str | None = None) -> Env:
    """The task of a configuration, or the same on another engine, as evaluations see it."""
    if "engine" in config.kwargs:
        raise ConfigError("env.kwargs: engine: set env.engine instead")
    known = _load("env.name", config.name, ENVS) if config.name in ENVS else None
    if config.links is not None and known and "links" not in inspect.signature(known).parameters:
        raise ConfigError(f"env.links: must be null, for {config.name!r} is no swimmer")
    kwargs = config.kwargs | ({} if config.links is None else {"links": config.links})
    env = make_env(config.name, engine=engine or config.engine, **kwargs)
    return env if config.action_repeat == 1 else ActionRepeat(env, config.action_repeat)


def randomized(env: Env, function: str | None) -> Env:
    """`env` with the model fields that the function at an import path draws at every start; `env` itself for None."""
    if function is None:
        return env
    return randomize.randomized(env, repr(function), _function("env.randomize", function))


def for_training(env: Env, config: EnvConfig) -> tuple[Env, Curriculum | None]:
    """`env` as `env.randomize` has it, and what moves its numbers at evaluations. One step of it is traced, so that
    what cannot be randomized is refused here."""
    varied = randomized(env, config.randomize)
    curriculum = _curriculum(varied, config.curriculum)
    if varied is not env:
        randomize.check(varied, None if curriculum is None else curriculum.initial)
    return varied, curriculum


def _curriculum(env: Env, path: str | None) -> Curriculum | None:
    if path is None:
        return None
    function = _function("env.curriculum", path)
    if not takes_curriculum(env):
        raise ConfigError(
            "env.curriculum: nobody takes its numbers; give the function of env.randomize, or the task's reset, an "
            "argument curriculum"
        )
    return Curriculum(repr(path), function)


def mujoco_model(env: Env) -> mujoco.MjModel | None:
    """The model that `env` simulates; None where its physics is not MuJoCo's."""
    inner: Any = env.unwrapped
    # A task of the user's own may call something else its model, such as MJX's copy of it.
    places = ((inner, "model"), (inner, "mj_model"), (getattr(inner, "sys", None), "mj_model"))
    found = (getattr(place, name, None) for place, name in places)
    return next((model for model in found if isinstance(model, mujoco.MjModel)), None)


def compiler_options(env: Env) -> dict[str, Any]:
    """XLA's options, as `jax.jit` takes them, for programs that step `env`.

    On a CPU, what jaxlib 0.10 makes of MJX on a chain of bodies by its newer way to emit fusions takes several times as
    long with every further body (docs/environments.md), what the older makes of it does not; of many bodies in short
    chains it makes as fast a program in less time. On few the newer is as fast or a little faster.
    """
    model = mujoco_model(env)
    if jax.default_backend() != "cpu" or env.backend != "mjx" or model is None:
        return {}
    depth = [0] * model.nbody
    for body in range(1, model.nbody):
        depth[body] = depth[model.body_parentid[body]] + 1
    return older_fusions() if max(depth) >= LONG_CHAIN or model.nbody - 1 >= MANY_BODIES else {}


def compiled(env: Env) -> tuple[Callable[[Key], State], Callable[[State, Any], State]]:
    """Its `reset` and `step` as programs of their own, in the precision and with XLA's options of training."""
    options = compiler_options(env)

    def program(function: Callable[..., State]) -> Any:
        @functools.wraps(function)
        def precisely(*arguments: Any) -> State:
            with physics_precision():
                return function(*arguments)

        return jax.jit(precisely, compiler_options=options)

    return program(env.reset), program(env.step)


def _function(key: str, path: str) -> Any:
    """The user's own at `module:function`."""
    if ":" not in path:
        raise ConfigError(f"{key}: {path!r} is no import path package.module:function")
    function = _load(key, path, {}, imports=True)
    if not callable(function):
        raise ConfigError(f"{key}: {path} is no function, it is of type {type(function).__name__}")
    return function


def _load(key: str, name: str, known: dict[str, str], *, imports: bool = False) -> Any:
    """The class that `known` lists under `name`, or with `imports` the one at `module:Class`."""
    path = known.get(name, name if imports and ":" in name else None)
    if path is None:
        more = f", {PLAYGROUND}Task, or module:Class of your own" if known is ENVS else ""
        raise ConfigError(f"{key}: unknown {name!r}; choose from {', '.join(known)}{more}")
    module, _, attribute = path.partition(":")
    if path in known.values():
        return getattr(importlib.import_module(module), attribute)  # a fault here is ours, or of the installation
    try:
        if not all(part.isidentifier() for part in (*module.split("."), attribute)):
            raise ImportError("no import path package.module:name")
        return getattr(importlib.import_module(module), attribute)
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}: {error.msg}"
        raise ConfigError(f"{key}: cannot import {name!r}: {where}") from error
    except SystemExit as error:
        raise ConfigError(f"{key}: cannot import {name!r}: it ended the program with {error.code!r}") from error
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}: cannot import {name!r}: {error}") from error
