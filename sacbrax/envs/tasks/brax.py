"""Brax's own MuJoCo tasks: their models, observations, rewards and terminations, unchanged.

A Brax state holds all of MJX's data, some 115 arrays. The next step reads four things of it, and only those are kept
here; the results are the same to the bit. Tasks whose mechanism moves in a plane run on the fused engine instead, where
it tells Brax's code what that reads.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from sacbrax.core.types import Array, Key
from sacbrax.engines.engine import MakeEngine, chosen, refuse_fields
from sacbrax.engines.mjx import Mjx
from sacbrax.engines.upstream import Env, Motion, State, Transform, as_brax_needs, brax_envs, quiet
from sacbrax.envs.randomize import NONE, Fields, having


class Physics(struct.PyTreeNode):
    """All that a task carries from one environment step to the next."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    qacc_warmstart: Array  # [nv] where the constraint solver starts
    x: Any  # Brax Transform of every link, from which velocities are differences; one time step behind qpos


class BraxTask(Env):
    """The Brax task named `task`. `options` go to Brax's class; the two solver limits override its own."""

    task: ClassVar[str]
    engines: ClassVar[tuple[str, ...]] = ("mjx",)  # that step it
    default_engine: ClassVar[str] = "mjx"
    reset_pool: ClassVar[int] = 1024  # a reset runs the model's forward dynamics, as dear as a time step

    def __init__(self, solver_iterations: int | None = None, ls_iterations: int | None = None, **options: Any) -> None:
        limits = {"opt.iterations": solver_iterations, "opt.ls_iterations": ls_iterations}
        limits = {name: limit for name, limit in limits.items() if limit is not None}
        with quiet():
            self.env: Any = brax_envs.get_environment(self.task, backend="mjx", **options)
        if limits:
            self.env.sys = self.env.sys.tree_replace(limits)
        self._choose_engine()
        with as_brax_needs():
            start = jax.eval_shape(self.env.reset, jax.random.key(0))
        # What the steps do not read.
        self._template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), start.pipeline_state)
        self._observation_size = int(start.obs.shape[-1])

    def _choose_engine(self) -> None:
        """Brax's own, MJX."""

    @property
    def model(self) -> mujoco.MjModel:
        return self.env.sys.mj_model

    @property
    def dt(self) -> float:
        """Seconds per environment step."""
        return float(self.env.dt)

    @property
    def observation_size(self) -> int:
        return self._observation_size

    @property
    def action_size(self) -> int:
        return int(self.env.action_size)

    @property
    def backend(self) -> str:
        return "mjx"

    def varied_model(self) -> Any:
        """MJX's model, arrays of which `fields` may replace."""
        return self.env.sys

    def reset(self, key: Key, fields: Fields = NONE) -> State:
        """A fresh random start; `key` is a typed key or a legacy uint32 one."""
        with as_brax_needs(), having(self.env, "sys", fields):
            return _reduced(self.env.reset(key))

    def step(self, state: State, action: Array, fields: Fields = NONE) -> State:
        """One control step of `dt` seconds; `action` [A] in [-1, 1]."""
        carried = state.pipeline_state
        full = self._template.replace(**vars(carried), q=carried.qpos, qd=carried.qvel)
        # Brax writes the metrics of the state it is given.
        before = state.replace(pipeline_state=full, metrics=dict(state.metrics))
        with as_brax_needs(), having(self.env, "sys", fields):
            after = _reduced(self.env.step(before, action))
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state)


def _reduced(state: State) -> State:
    """`state` with what is carried of its physics; plain Python numbers become arrays."""
    full = state.pipeline_state
    physics = Physics(full.qpos, full.qvel, full.qacc_warmstart, full.x)
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), state.replace(pipeline_state=physics))


class Ant(BraxTask):
    """Four legs that run forward; falling ends it."""

    task = "ant"


class Links(struct.PyTreeNode):
    """What Brax's code reads of a state, by Brax's names and by MuJoCo's."""

    q: Array
    qd: Array
    x: Any  # Transform of every link
    xd: Any  # Motion
    qpos: Array
    qvel: Array
    qacc_warmstart: Array  # none


class PlanarBraxTask(BraxTask):
    """One that the fused engine covers; `solver_iterations` and `ls_iterations` are of MJX's solver."""

    engines, default_engine = ("fused", "mjx"), "fused"
    engine: Any  # a `DerivingEngine`, where it is not Brax's own

    def __init__(
        self,
        engine: MakeEngine = Mjx,
        solver_iterations: int | None = None,
        ls_iterations: int | None = None,
        **options: Any,
    ) -> None:
        self._make_engine = engine
        chosen(
            engine, solver_iterations=solver_iterations, ls_iterations=ls_iterations
        )  # refuses what it does not take
        super().__init__(solver_iterations, ls_iterations, **options)

    def _choose_engine(self) -> None:
        if self._make_engine is Mjx:
            return
        self.engine = self._make_engine(self.model, self.env._n_frames)
        self.env.pipeline_init = lambda q, qd, act=None, ctrl=None: _links(self.engine.start(q, qd))
        self.env.pipeline_step = lambda state, ctrl: _links(
            self.engine.advance(state.q, state.qd, state.qacc_warmstart, ctrl)
        )

    @property
    def backend(self) -> str:
        return "mjx" if self._make_engine is Mjx else self.engine.name

    def varied_model(self) -> Any:
        """Raises ValueError where the fused engine has compiled it in."""
        if self._make_engine is not Mjx:
            refuse_fields()
        return super().varied_model()


def _links(data: Any) -> Links:
    """As Brax's pipeline of MJX has it: links are the bodies but the world."""
    return Links(
        q=data.qpos,
        qd=data.qvel,
        x=Transform(pos=data.xpos[1:], rot=data.xquat[1:]),
        xd=Motion(vel=data.linear[1:], ang=data.angular[1:]),
        qpos=data.qpos,
        qvel=data.qvel,
        qacc_warmstart=jnp.zeros(0, data.qvel.dtype),
    )


class HalfCheetah(PlanarBraxTask):
    """Two legs in the plane that run forward."""

    task = "halfcheetah"


class Hopper(PlanarBraxTask):
    """One leg in the plane that hops forward; falling ends it."""

    task = "hopper"


class Humanoid(BraxTask):
    """A human figure that walks forward; falling ends it."""

    task = "humanoid"


class HumanoidStandup(BraxTask):
    """The same figure, lying, that shall stand up."""

    task = "humanoidstandup"


class InvertedPendulum(PlanarBraxTask):
    """A pole on a cart to keep upright."""

    task = "inverted_pendulum"


class InvertedDoublePendulum(PlanarBraxTask):
    """Two poles on a cart to keep upright."""

    task = "inverted_double_pendulum"


class Pusher(BraxTask):
    """An arm that pushes a cylinder to a goal."""

    task = "pusher"


class Reacher(PlanarBraxTask):
    """A planar arm whose tip shall reach a target."""

    task = "reacher"


class Walker2d(PlanarBraxTask):
    """Two legs in the plane that walk forward; falling ends it."""

    task = "walker2d"
