"""Gymnasium's MuJoCo v5 tasks but the swimmer: observation, reward and termination of each, as of Gymnasium 1.x.

Quantities that MuJoCo derives, places of bodies and forces, are read where Gymnasium reads them, as they are after the
last time step. `tests/envs/test_gymnasium_tasks.py` compares each task with Gymnasium's step by step.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.core.types import Array, Key
from sacbrax.envs.tasks.gymnasium_base import INFINITY, GymnasiumTask, Step, effort

POOL = 1024  # start states computed in advance where an observation needs the forward dynamics


class HalfCheetah(GymnasiumTask):
    """HalfCheetah-v5: forward speed less 0.1 |a|^2; never terminates."""

    default_engine = "fused"
    asset, frame_skip, travels = "half_cheetah.xml", 5, 1
    noise, normal_velocities = 0.1, True

    def rewards(self, step: Step) -> dict[str, Array]:
        return {"reward_forward": step.velocity[0], "reward_ctrl": -0.1 * effort(step)}


class Hopper(GymnasiumTask):
    """Hopper-v5: forward speed, 1 for standing, less 0.001 |a|^2; ends when it falls."""

    default_engine = "fused"
    asset, frame_skip, travels, noise = "hopper.xml", 4, 1, 5e-3
    healthy_height, healthy_angle, healthy_state = (0.7, INFINITY), (-0.2, 0.2), 100.0

    def observe(self, data: Any) -> Array:
        return jnp.concatenate([data.qpos[1:], jnp.clip(data.qvel, -10, 10)])

    def rewards(self, step: Step) -> dict[str, Array]:
        return {
            "reward_forward": step.velocity[0],
            "reward_survive": step.healthy.astype(step.ctrl.dtype),
            "reward_ctrl": -1e-3 * effort(step),
        }


class Walker2d(Hopper):
    """Walker2d-v5: the hopper's reward and observation; ends when it falls."""

    asset = "walker2d_v5.xml"
    healthy_height, healthy_angle, healthy_state = (0.8, 2.0), (-1.0, 1.0), INFINITY


class Ant(GymnasiumTask):
    """Ant-v5: the torso's forward speed, 1 for staying up, less efforts and contact forces; ends when it falls."""

    default_engine, derives = "fused", True
    asset, frame_skip, travels = "ant.xml", 5, 2
    noise, normal_velocities = 0.1, True

    def place(self, data: Any) -> Array:
        return data.xpos[1, :2]

    def healthy(self, data: Any) -> Array:
        return (data.qpos[2] >= 0.2) & (data.qpos[2] <= 1.0)

    def observe(self, data: Any) -> Array:
        return jnp.concatenate([data.qpos[2:], data.qvel, self._forces(data)[1:].ravel()])

    def rewards(self, step: Step) -> dict[str, Array]:
        forces = self._forces(step.data)
        return {
            "reward_forward": step.velocity[0],
            "reward_survive": step.healthy.astype(step.ctrl.dtype),
            "reward_ctrl": -0.5 * effort(step),
            "reward_contact": -5e-4 * jnp.sum(forces * forces),
        }

    def _forces(self, data: Any) -> Array:
        """On every body [nbody, 6]; MJX has them in a place of its own."""
        return jnp.clip(getattr(data, "_impl", data).cfrc_ext, -1, 1)


class Humanoid(GymnasiumTask):
    """Humanoid-v5: 1.25 times the forward speed of the centre of mass, 5 for standing, less efforts and contacts."""

    derives = True
    asset, frame_skip, travels, noise = "humanoid.xml", 5, 2, 1e-2
    healthy_height = (1.0, 2.0)
    reset_pool = POOL

    def place(self, data: Any) -> Array:
        mass = jnp.asarray(self.model.body_mass / self.model.body_mass.sum(), data.qpos.dtype)
        return mass @ data.xipos[:, :2]

    def observe(self, data: Any) -> Array:
        parts = (data._impl.cinert[1:], data.cvel[1:], data.qfrc_actuator[6:], data._impl.cfrc_ext[1:])
        return jnp.concatenate([data.qpos[2:], data.qvel, *(part.ravel() for part in parts)])

    def rewards(self, step: Step) -> dict[str, Array]:
        return {
            "reward_forward": 1.25 * step.velocity[0],
            "reward_survive": 5 * step.healthy.astype(step.ctrl.dtype),
            "reward_ctrl": -0.1 * effort(step),
            "reward_contact": -jnp.minimum(5e-7 * jnp.sum(step.data._impl.cfrc_ext**2), 10),
        }


class HumanoidStandup(Humanoid):
    """HumanoidStandup-v5: the torso's height, less efforts and contacts; never terminates."""

    asset = "humanoidstandup.xml"
    healthy_height = (-INFINITY, INFINITY)

    def rewards(self, step: Step) -> dict[str, Array]:
        return {
            "reward_linup": step.data.qpos[2] / self.model.opt.timestep,
            "reward_alive": jnp.ones((), step.ctrl.dtype),
            "reward_quadctrl": -0.1 * effort(step),
            "reward_impact": -jnp.minimum(5e-7 * jnp.sum(step.data._impl.cfrc_ext**2), 10),
        }


class InvertedPendulum(GymnasiumTask):
    """InvertedPendulum-v5: 1 while the pole stands, ends when it leans by more than 0.2 rad."""

    default_engine = "fused"
    asset, frame_skip, noise = "inverted_pendulum.xml", 2, 0.01

    def healthy(self, data: Any) -> Array:
        return jnp.abs(data.qpos[1]) <= 0.2

    def rewards(self, step: Step) -> dict[str, Array]:
        return {"reward_survive": step.healthy.astype(step.ctrl.dtype)}


class InvertedDoublePendulum(GymnasiumTask):
    """InvertedDoublePendulum-v5: 10 while the tip is up, less its distance from the top and the links' spin."""

    default_engine, derives = "fused", True
    asset, frame_skip = "inverted_double_pendulum.xml", 5
    noise, normal_velocities = 0.1, True
    reset_pool = POOL

    def healthy(self, data: Any) -> Array:
        return data.site_xpos[0, 2] > 1

    def observe(self, data: Any) -> Array:
        angles, force = data.qpos[1:], jnp.clip(data.qfrc_constraint[:1], -10, 10)
        return jnp.concatenate([data.qpos[:1], jnp.sin(angles), jnp.cos(angles), jnp.clip(data.qvel, -10, 10), force])

    def rewards(self, step: Step) -> dict[str, Array]:
        x, y = step.data.site_xpos[0, 0], step.data.site_xpos[0, 2]
        return {
            "reward_survive": 10 * step.healthy.astype(step.ctrl.dtype),
            "distance_penalty": -(0.01 * x**2 + (y - 2) ** 2),
            "velocity_penalty": -(1e-3 * step.data.qvel[1] ** 2 + 5e-3 * step.data.qvel[2] ** 2),
        }


class _Placed(GymnasiumTask):
    """A task about places of named bodies, which no episode ends early."""

    derives = True
    reset_pool = POOL

    def healthy(self, data: Any) -> Array:
        return jnp.asarray(True)

    def body(self, data: Any, name: str) -> Array:
        """Place of a body's frame [3], in m."""
        return data.xpos[self.model.body(name).id]


class Pusher(_Placed):
    """Pusher-v5: minus the object's distance from the goal, half its distance from the arm's tip, and efforts."""

    asset, frame_skip, noise = "pusher_v5.xml", 5, 5e-3

    def start(self, key: Key) -> tuple[Array, Array]:
        """The arm at rest, the object anywhere in a rectangle but not within 0.17 m of the goal."""
        velocity_key, place_key = jax.random.split(key)
        low, high = np.array([-0.3, -0.2], np.float32), np.array([0.0, 0.2], np.float32)

        def draw(state: tuple[Key, Array]) -> tuple[Key, Array]:
            key, now = jax.random.split(state[0])
            return key, jax.random.uniform(now, (2,), minval=low, maxval=high)

        _, place = jax.lax.while_loop(lambda s: jnp.sum(s[1] ** 2) <= 0.17**2, draw, (place_key, jnp.zeros(2)))
        qvel = jax.random.uniform(velocity_key, (self.model.nv,), minval=-self.noise, maxval=self.noise)
        qpos = jnp.asarray(self.model.qpos0, place.dtype).at[-4:].set(jnp.concatenate([place, jnp.zeros(2)]))
        return qpos, qvel.at[-4:].set(0)

    def observe(self, data: Any) -> Array:
        bodies = [self.body(data, name) for name in ("tips_arm", "object", "goal")]
        return jnp.concatenate([data.qpos[:7], data.qvel[:7], *bodies])

    def rewards(self, step: Step) -> dict[str, Array]:
        tip, thing, goal = (self.body(step.data, name) for name in ("tips_arm", "object", "goal"))
        return {
            "reward_dist": -jnp.linalg.norm(thing - goal),
            "reward_near": -0.5 * jnp.linalg.norm(thing - tip),
            "reward_ctrl": -0.1 * effort(step),
        }


class Reacher(_Placed):
    """Reacher-v5: minus the fingertip's distance from the target, and efforts."""

    default_engine = "fused"
    asset, frame_skip, noise = "reacher.xml", 2, 0.1

    def start(self, key: Key) -> tuple[Array, Array]:
        """The arm nearly stretched and at rest, the target anywhere in a disc of 0.2 m."""
        arm_key, velocity_key, target_key = jax.random.split(key, 3)
        radius, angle = jax.random.uniform(target_key, (2,))
        radius, angle = 0.2 * jnp.sqrt(radius), 2 * jnp.pi * angle
        target = radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        qpos = jax.random.uniform(arm_key, (self.model.nq,), minval=-self.noise, maxval=self.noise)
        qpos = (jnp.asarray(self.model.qpos0, qpos.dtype) + qpos).at[-2:].set(target)
        qvel = jax.random.uniform(velocity_key, (self.model.nv,), minval=-5e-3, maxval=5e-3)
        return qpos, qvel.at[-2:].set(0)

    def observe(self, data: Any) -> Array:
        angles, reach = data.qpos[:2], self.body(data, "fingertip") - self.body(data, "target")
        return jnp.concatenate([jnp.cos(angles), jnp.sin(angles), data.qpos[2:], data.qvel[:2], reach[:2]])

    def rewards(self, step: Step) -> dict[str, Array]:
        reach = self.body(step.data, "fingertip") - self.body(step.data, "target")
        return {"reward_dist": -jnp.linalg.norm(reach), "reward_ctrl": -effort(step)}
