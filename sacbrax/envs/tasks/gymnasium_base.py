"""What Gymnasium's MuJoCo v5 tasks share: the model from Gymnasium's own file, one control step, fresh starts.

`gymnasium` has the tasks. Gymnasium is only needed for its model files; none of its code runs.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import mujoco
from flax import struct

from sacbrax.core.errors import ConfigError, one_line
from sacbrax.core.types import Array, Key
from sacbrax.engines.engine import DerivingEngine, MakeEngine, chosen
from sacbrax.engines.mjx import Mjx
from sacbrax.engines.model_warnings import unheard
from sacbrax.engines.upstream import State
from sacbrax.envs.mujoco_task import MujocoTask
from sacbrax.envs.tasks.gymnasium_arguments import ENDLESS, arguments
from sacbrax.envs.vector_env import OVERFLOW


class Physics(struct.PyTreeNode):
    """All that a task carries from one environment step to the next."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    qacc_warmstart: Array  # [nv] where MJX's or Warp's constraint solver starts; [0] on an engine that needs none
    lag: Array  # [travels] the tracked point's place as MuJoCo has it, a little behind, relative to where a step starts
    fields: dict[str, Array] = struct.field(default_factory=dict)  # of the model, where it differs between starts


class Plain(struct.PyTreeNode):
    """What is known of a state from which nothing is derived."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]


class Step(struct.PyTreeNode):
    """What a reward is made of."""

    data: Any  # the engine's, after the step, or `Plain`
    ctrl: Array  # [nu] the controls, in the actuators' range
    velocity: Array  # [travels] m/s of the tracked point
    healthy: Array  # bool []
    dt: float  # s


def load_model(name: str) -> mujoco.MjModel:
    """One of Gymnasium's models, or the file at a path that begins with `.`, `/` or `~`, which is how Gymnasium tells.

    Raises ConfigError when Gymnasium is not installed, or MuJoCo cannot read the file.
    """
    path = Path(name).expanduser()
    if not name.startswith((".", "/", "~")):
        spec = importlib.util.find_spec("gymnasium")
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f"env.name: this task needs Gymnasium's {name}: pip install 'sacbrax[gymnasium]'")
        path = Path(spec.submodule_search_locations[0]) / "envs" / "mujoco" / "assets" / name
    try:
        with unheard():
            return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise ConfigError(f"env.kwargs: xml_file: {one_line(error)}") from None


class GymnasiumTask(MujocoTask):
    """One Gymnasium task without its time limit; subclasses say what differs.

    `solver_iterations` and `ls_iterations` cap the constraint solver of MJX and Warp, by default at the model's own
    limits; `contacts` is Warp's room for contacts per environment; `given` are Gymnasium's own arguments of the task,
    which `defaults` names. Raises ConfigError for others.
    """

    engine: DerivingEngine
    defaults: ClassVar[dict[str, Any]]
    default_engine: ClassVar[str] = "mjx"
    normal_velocities: ClassVar[bool] = False  # of a start; uniform otherwise
    derives: ClassVar[bool] = False  # whether the task reads more of a state than positions and velocities
    # The first coordinates of qpos that nothing depends on, x or x and y of a body that travels. A step starts from
    # their origin: far away, float32 would round the displacement.
    travels: ClassVar[int] = 0
    reset_pool: ClassVar[int] = 0  # where a reset needs no forward dynamics it is cheap

    def __init__(
        self,
        engine: MakeEngine = Mjx,
        solver_iterations: int | None = None,
        ls_iterations: int | None = None,
        contacts: int | None = None,
        **given: Any,
    ) -> None:
        self.given = arguments(f"{type(self).__name__}-v5", self.defaults, given)
        self.frame_skip = self.given.frame_skip
        model = load_model(self.given.xml_file)
        if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:  # MJX has none; the solution is the same
            model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        options = {"solver_iterations": solver_iterations, "ls_iterations": ls_iterations, "contacts": contacts}
        super().__init__(model, chosen(engine, **options))
        seen, _ = jax.eval_shape(self._look, jax.random.key(0))
        self.observation_parts = {name: int(part.size) for name, part in seen.items()}

    @property
    def observation_size(self) -> int:
        return sum(self.observation_parts.values())

    def _look(self, key: Key) -> tuple[dict[str, Array], Array]:
        """What is read of a start, so that a model without it is refused when the task is made."""
        data = self._start(*self.start(key), {})
        return self.seen(data), self.place(data)

    def reset(self, key: Key) -> State:
        """A fresh random start; `key` is a typed key or a legacy uint32 one."""
        return self.at(*self.start(key))

    def restart(self, state: State) -> State:
        """A start as it is with the fields of the model that it carries."""
        physics: Any = state.pipeline_state
        return self.at(physics.qpos, physics.qvel, physics.fields)

    def at(self, qpos: Array, qvel: Array, fields: Mapping[str, Array] = MappingProxyType({})) -> State:
        """The state at qpos [nq], qvel [nv], as if reset there."""
        data = self._start(qpos, qvel, fields)
        zero = jnp.zeros((), qpos.dtype)
        lag = self.place(data) - self._origin(qpos)
        physics = Physics(qpos, qvel, jnp.zeros_like(self._warmstart(data)), lag, dict(fields))
        metrics = {name: zero for name in jax.eval_shape(self._rewards, data)} | self._overflow(data)
        # As Gymnasium has it: MJX has normalized the quaternions, which a random start's are not.
        return State(physics, self.observe(data.replace(qpos=qpos)), zero, zero, metrics)

    def step(self, state: State, action: Array) -> State:
        """One control step of `dt` seconds; `action` [A] in [-1, 1]."""
        before, travels = state.pipeline_state, self.travels if self._uniform else 0
        dtype = before.qpos.dtype
        ctrl = self.ctrl(action.astype(dtype))
        qpos = before.qpos.at[:travels].set(0)
        data = self._advance(qpos, before, ctrl)
        place = self.place(data)
        rewards = self.rewards(Step(data, ctrl, (place - before.lag) / self.dt, self.healthy(data), self.dt))
        qpos = data.qpos.at[:travels].add(before.qpos[:travels])
        physics = Physics(qpos, data.qvel, self._warmstart(data), place - self._origin(data.qpos), before.fields)
        seen = data if self._excludes else data.replace(qpos=qpos)
        ends = getattr(self.given, "terminate_when_unhealthy", True)
        return state.replace(
            pipeline_state=physics,
            obs=self.observe(seen),
            reward=sum(rewards.values()),
            done=1 - self.healthy(data).astype(dtype) if ends else jnp.zeros((), dtype),
            metrics={**state.metrics, **rewards, **self._overflow(data)},
        )

    def _origin(self, qpos: Array) -> Array:
        """What `lag` is relative to [travels]."""
        return qpos[: self.travels] if self._uniform else jnp.zeros(self.travels, qpos.dtype)

    def _start(self, qpos: Array, qvel: Array, fields: Mapping[str, Array]) -> Any:
        """What a task may read of a state."""
        return self.engine.start(qpos, qvel, fields) if self._asks else Plain(qpos, qvel)

    def _advance(self, qpos: Array, before: Physics, ctrl: Array) -> Any:
        """The same one control step later."""
        if self._asks:
            return self.engine.advance(qpos, before.qvel, before.qacc_warmstart, ctrl, before.fields)
        return Plain(*self.engine.step(qpos, before.qvel, ctrl, before.fields))

    @property
    def _asks(self) -> bool:
        """Whether the engine derives what MuJoCo does; on MJX that is where its solver starts, too."""
        return self.derives or self._warmstarts

    @property
    def _warmstarts(self) -> bool:
        return getattr(self.engine, "warmstarts", False)

    def _overflow(self, data: Any) -> dict[str, Array]:
        """Whether an engine whose buffers are of a fixed size left something out."""
        return {OVERFLOW: data.overflow} if getattr(self.engine, "tells_overflow", False) else {}

    def _warmstart(self, data: Any) -> Array:
        return data.qacc_warmstart if self._warmstarts else jnp.zeros(0, data.qvel.dtype)

    def _rewards(self, data: Any) -> dict[str, Array]:
        ctrl, velocity = jnp.zeros(self.model.nu), jnp.zeros(self.travels)
        return self.rewards(Step(data, ctrl, velocity, self.healthy(data), self.dt))

    def start(self, key: Key) -> tuple[Array, Array]:
        """qpos and qvel of a random start: the model's own with noise on every number."""
        position_key, velocity_key = jax.random.split(key)
        noise = float(self.given.reset_noise_scale)
        qpos = jax.random.uniform(position_key, (self.model.nq,), minval=-noise, maxval=noise)
        if self.normal_velocities:
            qvel = noise * jax.random.normal(velocity_key, (self.model.nv,))
        else:
            qvel = jax.random.uniform(velocity_key, (self.model.nv,), minval=-noise, maxval=noise)
        return jnp.asarray(self.model.qpos0, qpos.dtype) + qpos, qvel

    def place(self, data: Any) -> Array:
        """Where the tracked point is [travels], in m; its speed is `Step.velocity`."""
        return data.qpos[: self.travels]

    def positions(self, data: Any) -> Array:
        """Of `qpos` what is observed: all but the coordinates that travel, or all."""
        return data.qpos[self.travels :] if self._excludes else data.qpos

    def seen(self, data: Any) -> dict[str, Array]:
        """What is observed, in order; by default positions and velocities."""
        return {"qpos": self.positions(data), "qvel": data.qvel}

    def observe(self, data: Any) -> Array:
        """The observation [O]."""
        return jnp.concatenate([part.ravel() for part in self.seen(data).values()])

    def rewards(self, step: Step) -> dict[str, Array]:
        """The reward's parts by name, which add up to it."""
        raise NotImplementedError

    def healthy(self, data: Any) -> Array:
        """Whether the mechanism is as it should be, bool []; by default by height, angle and the rest of the state,
        where the task has ranges for them (open intervals, m and rad)."""
        heights, angles, states = (
            getattr(self.given, f"healthy_{part}_range", ENDLESS) for part in ("z", "angle", "state")
        )
        height, angle = data.qpos[self.travels], data.qpos[self.travels + 1]
        state, symmetric = jnp.concatenate([data.qpos[2:], data.qvel]), states[0] == -states[1]
        state = jnp.abs(state) if symmetric else state
        inside = (height > heights[0]) & (height < heights[1])
        inside &= (angle > angles[0]) & (angle < angles[1])
        within = state < states[1] if symmetric else (state > states[0]) & (state < states[1])
        return inside & within.all()

    def body_number(self, name: str | int) -> int:
        """Of a body of the model. Raises ConfigError where the model has none of that name."""
        try:
            return int(self.model.body(name).id)
        except (KeyError, IndexError):
            bodies = ", ".join(self.model.body(i).name for i in range(self.model.nbody))
            raise ConfigError(f"env.kwargs: the model has no body {name!r}; it has {bodies}") from None

    @property
    def _uniform(self) -> bool:
        """Whether the world is the same wherever the mechanism is: in Gymnasium's model. Another may have stairs."""
        return self.given.xml_file == self.defaults["xml_file"]

    @property
    def _excludes(self) -> bool:
        """Whether the coordinates that travel are left out of observations."""
        return bool(getattr(self.given, "exclude_current_positions_from_observation", True))


def effort(step: Step) -> Array:
    """Sum of the squared controls, []."""
    return jnp.sum(step.ctrl * step.ctrl)


def own(data: Any) -> Any:
    """Where `data` has cinert and cfrc_ext: MJX has them in a place of its own."""
    return getattr(data, "_impl", data)
