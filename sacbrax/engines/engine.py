"""What an engine is. A task steps its mechanism through this and no other door."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, Protocol

import mujoco

from sacbrax.core.types import Array


class Engine(Protocol):
    """Physics of one mechanism over one environment step; callers `vmap` it over environments."""

    name: str  # the engine's, as `env.engine` has it

    def step(
        self, qpos: Array, qvel: Array, ctrl: Array, fields: Mapping[str, Array] = MappingProxyType({})
    ) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps of `timestep` seconds.

        `fields` replace fields of the model by their MuJoCo names, such as "opt.density".
        """
        ...


class DerivingEngine(Engine, Protocol):
    """One that also tells what MuJoCo derives of a state, in fields named as in `mjData`: qpos, qvel, xpos and so on.
    Those after a step belong, as in MuJoCo, to the last evaluation of the dynamics, a little before its end."""

    def start(self, qpos: Array, qvel: Array, fields: Mapping[str, Array] = MappingProxyType({})) -> Any:
        """Of a state without controls."""
        ...

    def advance(
        self,
        qpos: Array,
        qvel: Array,
        warmstart: Array,
        ctrl: Array,
        fields: Mapping[str, Array] = MappingProxyType({}),
    ) -> Any:
        """After `frame_skip` time steps; `warmstart` is the `qacc_warmstart` of the data before, for engines that have
        one."""
        ...


MakeEngine = Callable[[mujoco.MjModel, int], Engine]  # of a model and the time steps of one environment step


def chosen(engine: MakeEngine, **options: int | None) -> MakeEngine:
    """`engine` with the options that are not None. Raises ValueError for one that it does not take."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in getattr(engine, "takes", ()):
            what, where = ("Warp's buffers", "warp") if name == "contacts" else ("MJX's solver", "mjx")
            raise ValueError(f"env.kwargs: {name} caps {what}; it needs env.engine={where}")
    return functools.partial(engine, **given) if given else engine


def refuse(feature: str) -> None:
    """Raise the ValueError of a model that has what the fused engine does not cover."""
    raise ValueError(f"env.engine=fused does not cover {feature}; use env.engine=mjx")


def one_model(fields: Mapping[str, Array]) -> None:
    """Raise ValueError for fields of a model that this engine compiles in."""
    if fields:
        refuse_fields()


def refuse_fields() -> NoReturn:
    """Raise the ValueError of an engine that has one model."""
    raise ValueError("env.randomize: the fused engine of this task has one model; use env.engine=mjx")
