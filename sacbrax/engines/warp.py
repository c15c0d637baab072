"""MuJoCo Warp through MJX (`impl="warp"`), carrying only positions, velocities and the solver's start between steps.

Warp keeps the contacts of all worlds in one buffer whose size is fixed when a program is traced, when nobody knows yet
how many environments there will be. So a step is one operation of the program, any nest of `vmap` over it is one batch
of N worlds, and the buffers are made then, and inside it. Knows no task.
"""

import copy
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from jax.interpreters import mlir

from sacbrax.core.errors import ConfigError
from sacbrax.core.types import Array
from sacbrax.engines import model_fields
from sacbrax.engines.one_batch import operation
from sacbrax.engines.upstream import mjx, quiet

CONTACTS = 32  # per world
STATE = ("qpos", "qvel", "qacc_warmstart")
DERIVED = ("xpos", "xipos", "site_xpos", "cvel", "qfrc_actuator", "qfrc_constraint", "cinert", "cfrc_ext")


class WarpData(struct.PyTreeNode):
    """What is known of a state, in fields named as in `mjData`."""

    qpos: Array
    qvel: Array
    qacc_warmstart: Array
    xpos: Array
    xipos: Array
    site_xpos: Array
    cvel: Array
    qfrc_actuator: Array
    qfrc_constraint: Array
    cinert: Array
    cfrc_ext: Array
    overflow: Array  # [] 1 where contacts or constraints had no room in the buffers and were left out, else 0


class Warp:
    """Steps `model` by `frame_skip` time steps of MuJoCo Warp, in float32.

    `solver_iterations` and `ls_iterations` cap the constraint solver, `contacts` is the room for contacts per world.
    """

    name = "warp"
    warmstarts = tells_overflow = True
    takes: ClassVar[frozenset[str]] = frozenset({"solver_iterations", "ls_iterations", "contacts"})

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        *,
        solver_iterations: int | None = None,
        ls_iterations: int | None = None,
        contacts: int | None = None,
    ) -> None:
        check()
        self.host, self.frame_skip = copy.copy(model), frame_skip
        self.contacts = CONTACTS if contacts is None else contacts
        if self.contacts < 1:
            raise ConfigError(f"env.kwargs: contacts: expected a whole number from 1 on, got {contacts}")
        self.host.opt.iterations = solver_iterations or model.opt.iterations
        self.host.opt.ls_iterations = ls_iterations or model.opt.ls_iterations
        with quiet():
            self.model = mjx.put_model(self.host, impl="warp")
        self.model = self.model.tree_replace({"opt._impl.warn_overflow": 0})  # it is counted, not printed by kernels
        template = self._buffers(1)
        self.sizes = {name: _of(template, name).shape for name in (*STATE, *DERIVED)}

    def step(
        self, qpos: Array, qvel: Array, ctrl: Array, fields: Mapping[str, Array] = MappingProxyType({})
    ) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps; not finite, which is counted
        as a fault, where the buffers had no room."""
        data = self.advance(qpos, qvel, jnp.zeros_like(qvel), ctrl, fields)
        return jnp.where(data.overflow > 0, jnp.nan, data.qpos), data.qvel

    def start(self, qpos: Array, qvel: Array, fields: Mapping[str, Array] = MappingProxyType({})) -> WarpData:
        """What Warp derives of a state without controls."""
        ctrl = jnp.zeros(self.host.nu, qpos.dtype)
        return self._call(0, qpos, qvel, jnp.zeros_like(qvel), ctrl, fields)

    def advance(
        self,
        qpos: Array,
        qvel: Array,
        warmstart: Array,
        ctrl: Array,
        fields: Mapping[str, Array] = MappingProxyType({}),
    ) -> WarpData:
        """After `frame_skip` time steps. What is derived belongs, as in MuJoCo, to the last evaluation of the
        dynamics, a little before the end."""
        return self._call(self.frame_skip, qpos, qvel, warmstart, ctrl, fields)

    def _call(self, frames: int, *state: Any) -> WarpData:
        *arrays, fields = state
        self._check_fields(fields)
        shapes = [x.shape for x in (*arrays, *fields.values())]
        rows = [x.astype(jnp.float32).reshape(1, -1) for x in (*arrays, *fields.values())]
        out = _step.bind(*rows, engine=self, frames=frames, fields=tuple(fields), shapes=tuple(shapes))
        *found, overflow = (x[0] for x in out)
        parts = {name: x.reshape(self.sizes[name]) for name, x in zip((*STATE, *DERIVED), found, strict=True)}
        return WarpData(**parts, overflow=overflow[0])

    def many(
        self, *rows: Array, frames: int, fields: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]
    ) -> list[Array]:
        """The same of N worlds: arrays [N, size] -> state, what is derived, and overflow, [N, size] each."""
        worlds = rows[0].shape[0]
        buffers = self._buffers(worlds)

        def one(*row: Array) -> list[Array]:
            qpos, qvel, warmstart, ctrl, *values = (x.reshape(s) for x, s in zip(row, shapes, strict=True))
            model = self.model.tree_replace(dict(zip(fields, values, strict=True))) if fields else self.model
            data = buffers.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart, ctrl=ctrl)
            telling = model.tree_replace({"opt._impl.run_rne_postconstraint": True})  # forces on bodies
            if frames == 0:
                data = mjx.forward(telling, data)
            else:
                data, _ = jax.lax.scan(lambda data, _: (mjx.step(model, data), None), data, None, frames - 1)
                data = mjx.step(telling, data)
            found = [_of(data, name).reshape(-1) for name in (*STATE, *DERIVED)]
            return [*found, (data._impl.overflow != 0).astype(jnp.float32).reshape(1)]

        with jax.numpy_rank_promotion("allow"):
            return jax.vmap(one)(*rows)

    def _buffers(self, worlds: int) -> Any:
        """Warp's data with room for the contacts of all worlds, and in each for the constraints they make."""
        room = {"naconmax": worlds * self.contacts, "njmax": constraints(self.host, self.contacts)}
        with quiet(), jax.ensure_compile_time_eval():
            data = jax.device_get(mjx.make_data(self.host, impl="warp", **room))
        return jax.tree.map(_written_out, data)

    def _check_fields(self, fields: Mapping[str, Array]) -> None:
        if not fields:
            return
        arrays = model_fields.arrays_of(self.model)
        for name in fields:
            if name in arrays and not _may_differ(name):
                raise ValueError(f"env.randomize: Warp has one {name} for all environments; use env.engine=mjx")
        model_fields.replaced(self.model, fields)


def constraints(model: mujoco.MjModel, contacts: int) -> int:
    """The most rows that `contacts` contacts, limits, friction and equalities can make."""
    rows = int(model.jnt_limited.sum() + model.tendon_limited.sum())
    rows += int((model.dof_frictionloss > 0).sum() + (model.tendon_frictionloss > 0).sum())
    widest = int(model.geom_condim.max(initial=1))
    pyramid = model.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL and widest > 1
    return rows + 6 * model.neq + contacts * (2 * (widest - 1) if pyramid else widest)


def _written_out(x: Any) -> Array:
    """An array; one of equal numbers is made by the program, which else would hold the buffers as constants."""
    x = np.asarray(x)
    return jnp.full(x.shape, x.flat[0]) if x.size > 1 and (x == x.flat[0]).all() else jnp.asarray(x)


def _of(data: Any, name: str) -> Array:
    """A field, which may lie among those of Warp alone."""
    return getattr(data._impl if name in ("cinert", "cfrc_ext") else data, name)


def _may_differ(name: str) -> bool:
    """Whether worlds may have their own values of a field of the model."""
    from mujoco.mjx.warp import types

    return bool(types._BATCH_DIM["Model"].get(name.replace(".", "__"), False))


def shared(name: str) -> bool:
    """Whether all worlds have one array `_impl.name` of Warp's data in common, as they have their contacts."""
    from mujoco.mjx.warp import types

    return name.startswith("_impl.") and not types._BATCH_DIM["Data"].get(name.removeprefix("_impl."), True)


def check() -> None:
    """Raise ConfigError where MuJoCo Warp is not installed, or this MJX does not have it."""
    try:
        with quiet():
            import warp
            from mujoco.mjx.warp import WARP_INSTALLED
    except ImportError as error:
        raise ConfigError(f"env.engine: warp is not installed ({error}); pip install 'sacbrax[warp]'") from None
    warp.config.log_level = warp.LOG_WARNING  # standard output is our commands'
    if not WARP_INSTALLED:
        raise ConfigError("env.engine: this mujoco-mjx cannot use the installed warp-lang; pip install 'sacbrax[warp]'")


def _shapes(*rows: Any, engine: Warp, **_: Any) -> list[Any]:
    sizes = [*(math.prod(engine.sizes[name]) for name in (*STATE, *DERIVED)), 1]
    return [rows[0].update(shape=(rows[0].shape[0], size)) for size in sizes]


_step = operation("warp_step", _shapes)
mlir.register_lowering(
    _step, mlir.lower_fun(lambda *rows, engine, **params: engine.many(*rows, **params), multiple_results=True)
)
