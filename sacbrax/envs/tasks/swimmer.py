"""The swimmer tasks, each written once: reset, observation and reward. An engine does the physics.

`Swimmer` is Gymnasium's Swimmer-v5, `RllabSwimmer` is rllab's. Both are single Brax environments without a time limit;
callers `vmap` them and count the steps.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import mujoco
from flax import struct

from sacbrax.core.errors import ConfigError
from sacbrax.core.types import Array, Key
from sacbrax.engines.engine import MakeEngine, chosen
from sacbrax.engines.upstream import State
from sacbrax.envs.mujoco_task import MujocoTask
from sacbrax.envs.tasks import swimmer_models
from sacbrax.envs.tasks.gymnasium_arguments import arguments, weighted
from sacbrax.envs.tasks.gymnasium_base import load_model


class Physics(struct.PyTreeNode):
    """All that the mechanism carries from one environment step to the next."""

    qpos: Array  # [nq] x, y in m, then hinge angles in rad
    qvel: Array  # [nv] their rates
    fields: dict[str, Array] = struct.field(default_factory=dict)  # of the model, where it differs between starts


class _SwimmerTask(MujocoTask):
    """What both tasks share: one engine call, reward = speed - cost."""

    control_cost: float
    uniform = True  # the world is the same wherever the swimmer is

    def __init__(self, engine: MakeEngine, model: mujoco.MjModel, links: int) -> None:
        super().__init__(model, engine)
        self.links = links

    @property
    def observation_parts(self) -> dict[str, int]:
        """Sizes by name of what is observed, in order."""
        raise NotImplementedError

    @property
    def observation_size(self) -> int:
        return sum(self.observation_parts.values())

    def reset(self, key: Key) -> State:
        """A fresh random start; `key` is a typed key or a legacy uint32 one."""
        physics = self._start(key)
        zero = jnp.zeros((), physics.qpos.dtype)
        metrics = {"reward_forward": zero, "reward_ctrl": zero}
        return State(physics, self._observe(physics), zero, zero, metrics)

    def step(self, state: State, action: Array) -> State:
        """One control step of `dt` seconds; `action` [A] in [-1, 1], clipped by the model's control range."""
        before = state.pipeline_state
        action = action.astype(before.qpos.dtype)
        if self.uniform:  # step from the origin: far away, float32 would round the displacement
            qpos, qvel = self.engine.step(before.qpos.at[:2].set(0), before.qvel, self.ctrl(action), before.fields)
            displacement = qpos[:2]
            physics = Physics(qpos.at[:2].add(before.qpos[:2]), qvel, before.fields)
        else:
            qpos, qvel = self.engine.step(before.qpos, before.qvel, self.ctrl(action), before.fields)
            displacement = qpos[:2] - before.qpos[:2]
            physics = Physics(qpos, qvel, before.fields)
        forward = self._speed(physics, displacement)
        effort = self._effort(action)
        cost = self.control_cost * jnp.sum(effort * effort)
        metrics = {**state.metrics, "reward_forward": forward, "reward_ctrl": -cost}
        return state.replace(
            pipeline_state=physics,
            obs=self._observe(physics),
            reward=forward - cost,
            done=jnp.zeros_like(forward),
            metrics=metrics,
        )

    def _start(self, key: Key) -> Physics:
        raise NotImplementedError

    def _observe(self, physics: Physics) -> Array:
        raise NotImplementedError

    def _speed(self, physics: Physics, displacement: Array) -> Array:
        """Forward speed [m/s] that the reward pays; `displacement` [2] of the origin over the step, in m."""
        raise NotImplementedError

    def _effort(self, action: Array) -> Array:
        """What costs by its square [A]."""
        return action


class Swimmer(_SwimmerTask):
    """Gymnasium 1.x Swimmer-v5: observation (qpos[2:], qvel), reward dx/dt - 1e-4 |a|^2, reset uniform +-0.1.

    `links` [3 to 20] and the caps of MJX's solver are ours; `given` are Gymnasium's own arguments, which `defaults`
    names.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "swimmer.xml",  # which `swimmer_models` writes for three links
        "frame_skip": 4,
        "forward_reward_weight": 1.0,
        "ctrl_cost_weight": 1e-4,
        "reset_noise_scale": 0.1,
        "exclude_current_positions_from_observation": True,
    }

    def __init__(
        self,
        engine: MakeEngine,
        links: int | None = None,
        solver_iterations: int | None = None,
        ls_iterations: int | None = None,
        **given: Any,
    ) -> None:
        self.given = arguments("Swimmer-v5", self.defaults, given)
        self.frame_skip, self.control_cost = self.given.frame_skip, self.given.ctrl_cost_weight
        self.uniform = self.given.xml_file == self.defaults["xml_file"]
        if self.uniform:
            model = swimmer_models.gym_swimmer(3 if links is None else links)
        elif links is None:
            model = load_model(self.given.xml_file)
        else:
            raise ConfigError("env.links: must be null with the xml_file of env.kwargs, which has its own")
        engine = chosen(engine, solver_iterations=solver_iterations, ls_iterations=ls_iterations)
        super().__init__(engine, model, model.nbody - 1)

    @property
    def observation_parts(self) -> dict[str, int]:
        return {"qpos": int(self.model.nq - self._unseen), "qvel": int(self.model.nv)}

    @property
    def _unseen(self) -> int:
        """How many of the first positions are not observed."""
        return 2 if self.given.exclude_current_positions_from_observation else 0

    def _start(self, key: Key) -> Physics:
        scale, nq = float(self.given.reset_noise_scale), self.model.nq
        noise = jax.random.uniform(key, (nq + self.model.nv,), minval=-scale, maxval=scale)
        start = self.model.qpos0
        return Physics(noise[:nq] + start if start.any() else noise[:nq], noise[nq:])

    def _observe(self, physics: Physics) -> Array:
        return jnp.concatenate([physics.qpos[self._unseen :], physics.qvel])

    def _speed(self, physics: Physics, displacement: Array) -> Array:
        return weighted(self.given.forward_reward_weight, displacement[0] / self.dt)

    def _effort(self, action: Array) -> Array:
        """The controls, which are the action itself where their range is [-1, 1]."""
        return action if (abs(self.model.actuator_ctrlrange) == 1).all() else self.ctrl(action)


class RllabSwimmer(_SwimmerTask):
    """rllab's Swimmer: observation (qpos, qvel, centre of mass), reward its x velocity - 0.005 |a|^2, normal reset."""

    frame_skip, control_cost = 50, 0.5e-2
    position_noise, velocity_noise = 0.01, 0.1

    def __init__(
        self,
        engine: MakeEngine,
        links: int = 3,
        solver_iterations: int | None = None,
        ls_iterations: int | None = None,
    ) -> None:
        engine = chosen(engine, solver_iterations=solver_iterations, ls_iterations=ls_iterations)
        super().__init__(engine, swimmer_models.rllab_swimmer(links), links)

    @property
    def observation_parts(self) -> dict[str, int]:
        return {"qpos": int(self.model.nq), "qvel": int(self.model.nv), "centre_of_mass": 3}

    def _start(self, key: Key) -> Physics:
        noise = jax.random.normal(key, (self.model.nq + self.model.nv,))
        return Physics(noise[: self.model.nq] * self.position_noise, noise[self.model.nq :] * self.velocity_noise)

    def _observe(self, physics: Physics) -> Array:
        centre = self._centre_of_mass(physics.qpos)
        return jnp.concatenate([physics.qpos, physics.qvel, centre, jnp.zeros_like(centre[:1])])

    def _speed(self, physics: Physics, displacement: Array) -> Array:
        return jax.jvp(self._centre_of_mass, (physics.qpos,), (physics.qvel,))[1][0]

    def _centre_of_mass(self, qpos: Array) -> Array:
        """Planar centre of mass [2] of the whole chain, in m."""
        mass = self.model.body_mass[1:] / self.model.body_mass.sum()  # share of each link
        # A link's centre hangs on its own angle; everything behind it hangs on its tail joint.
        behind = mass.sum() - mass.cumsum()
        lever = mass * self.model.body_ipos[1:, 0]
        lever[:-1] += behind[:-1] * self.model.body_pos[2:, 0]
        angle = jnp.cumsum(qpos[2:])
        lever = jnp.asarray(lever, qpos.dtype)
        return qpos[:2] + jnp.stack([jnp.sum(lever * jnp.cos(angle)), jnp.sum(lever * jnp.sin(angle))])
