"""Gymnasium's MuJoCo v5 tasks but the swimmer: observation, reward and termination of each, as of Gymnasium 1.x.

Quantities that MuJoCo derives, places of bodies and forces, are read where Gymnasium reads them, as they are after the
last time step. `defaults` are Gymnasium's own arguments, of which `env.kwargs` gives others. In tests/envs,
`test_gymnasium_tasks.py` compares each task with Gymnasium's step by step, `test_gymnasium_arguments.py` each argument.
"""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.core.types import Array, Key
from sacbrax.envs.tasks.gymnasium_arguments import weighted
from sacbrax.envs.tasks.gymnasium_base import GymnasiumTask, Step, effort, own

POOL = 1024  # start states computed in advance where an observation needs the forward dynamics


class HalfCheetah(GymnasiumTask):
    """HalfCheetah-v5: forward speed less 0.1 |a|^2; never terminates."""

    default_engine, travels, normal_velocities = "fused", 1, True
    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "half_cheetah.xml",
        "frame_skip": 5,
        "forward_reward_weight": 1.0,
        "ctrl_cost_weight": 0.1,
        "reset_noise_scale": 0.1,
        "exclude_current_positions_from_observation": True,
    }

    def rewards(self, step: Step) -> dict[str, Array]:
        given = self.given
        return {
            "reward_forward": weighted(given.forward_reward_weight, step.velocity[0]),
            "reward_ctrl": weighted(-given.ctrl_cost_weight, effort(step)),
        }


class Hopper(GymnasiumTask):
    """Hopper-v5: forward speed, 1 for standing, less 0.001 |a|^2; ends when it falls."""

    default_engine, travels = "fused", 1
    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "hopper.xml",
        "frame_skip": 4,
        "forward_reward_weight": 1.0,
        "ctrl_cost_weight": 1e-3,
        "healthy_reward": 1.0,
        "terminate_when_unhealthy": True,
        "healthy_state_range": (-100.0, 100.0),
        "healthy_z_range": (0.7, math.inf),
        "healthy_angle_range": (-0.2, 0.2),
        "reset_noise_scale": 5e-3,
        "exclude_current_positions_from_observation": True,
    }

    def seen(self, data: Any) -> dict[str, Array]:
        return {"qpos": self.positions(data), "qvel": jnp.clip(data.qvel, -10, 10)}

    def rewards(self, step: Step) -> dict[str, Array]:
        given = self.given
        return {
            "reward_forward": weighted(given.forward_reward_weight, step.velocity[0]),
            "reward_survive": weighted(given.healthy_reward, step.healthy.astype(step.ctrl.dtype)),
            "reward_ctrl": weighted(-given.ctrl_cost_weight, effort(step)),
        }


class Walker2d(Hopper):
    """Walker2d-v5: the hopper's reward and observation; ends when it falls."""

    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "walker2d_v5.xml",
        "frame_skip": 4,
        "forward_reward_weight": 1.0,
        "ctrl_cost_weight": 1e-3,
        "healthy_reward": 1.0,
        "terminate_when_unhealthy": True,
        "healthy_z_range": (0.8, 2.0),
        "healthy_angle_range": (-1.0, 1.0),
        "reset_noise_scale": 5e-3,
        "exclude_current_positions_from_observation": True,
    }


class Ant(GymnasiumTask):
    """Ant-v5: the torso's forward speed, 1 for staying up, less efforts and contact forces; ends when it falls."""

    default_engine, travels, normal_velocities, derives = "fused", 2, True, True
    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "ant.xml",
        "frame_skip": 5,
        "forward_reward_weight": 1.0,
        "ctrl_cost_weight": 0.5,
        "contact_cost_weight": 5e-4,
        "healthy_reward": 1.0,
        "main_body": 1,
        "terminate_when_unhealthy": True,
        "healthy_z_range": (0.2, 1.0),
        "contact_force_range": (-1.0, 1.0),
        "reset_noise_scale": 0.1,
        "exclude_current_positions_from_observation": True,
        "include_cfrc_ext_in_observation": True,
    }

    def place(self, data: Any) -> Array:
        return data.xpos[self.body_number(self.given.main_body), :2]

    def healthy(self, data: Any) -> Array:
        low, high = self.given.healthy_z_range
        return (data.qpos[2] >= low) & (data.qpos[2] <= high)

    def seen(self, data: Any) -> dict[str, Array]:
        forces = {"cfrc_ext": self._forces(data)[1:]} if self.given.include_cfrc_ext_in_observation else {}
        return {"qpos": self.positions(data), "qvel": data.qvel, **forces}

    def rewards(self, step: Step) -> dict[str, Array]:
        forces, given = self._forces(step.data), self.given
        return {
            "reward_forward": weighted(given.forward_reward_weight, step.velocity[0]),
            "reward_survive": weighted(given.healthy_reward, step.healthy.astype(step.ctrl.dtype)),
            "reward_ctrl": weighted(-given.ctrl_cost_weight, effort(step)),
            "reward_contact": weighted(-given.contact_cost_weight, jnp.sum(forces * forces)),
        }

    def _forces(self, data: Any) -> Array:
        """On every body [nbody, 6]."""
        return jnp.clip(own(data).cfrc_ext, *self.given.contact_force_range)


HUMANOIDS_OBSERVE = {
    "exclude_current_positions_from_observation": True,
    "include_cinert_in_observation": True,
    "include_cvel_in_observation": True,
    "include_qfrc_actuator_in_observation": True,
    "include_cfrc_ext_in_observation": True,
}


class Humanoid(GymnasiumTask):
    """Humanoid-v5: 1.25 times the forward speed of the centre of mass, 5 for standing, less efforts and contacts."""

    travels, derives = 2, True
    reset_pool = POOL
    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "humanoid.xml",
        "frame_skip": 5,
        "forward_reward_weight": 1.25,
        "ctrl_cost_weight": 0.1,
        "contact_cost_weight": 5e-7,
        "contact_cost_range": (-math.inf, 10.0),
        "healthy_reward": 5.0,
        "terminate_when_unhealthy": True,
        "healthy_z_range": (1.0, 2.0),
        "reset_noise_scale": 1e-2,
        **HUMANOIDS_OBSERVE,
    }

    def place(self, data: Any) -> Array:
        mass = jnp.asarray(self.model.body_mass / self.model.body_mass.sum(), data.qpos.dtype)
        return mass @ data.xipos[:, :2]

    def seen(self, data: Any) -> dict[str, Array]:
        parts = {
            "cinert": own(data).cinert[1:],
            "cvel": data.cvel[1:],
            "qfrc_actuator": data.qfrc_actuator[6:],
            "cfrc_ext": own(data).cfrc_ext[1:],
        }
        wanted = {name: part for name, part in parts.items() if getattr(self.given, f"include_{name}_in_observation")}
        return {"qpos": self.positions(data), "qvel": data.qvel, **wanted}

    def rewards(self, step: Step) -> dict[str, Array]:
        given = self.given
        return {
            "reward_forward": weighted(given.forward_reward_weight, step.velocity[0]),
            "reward_survive": weighted(given.healthy_reward, step.healthy.astype(step.ctrl.dtype)),
            "reward_ctrl": weighted(-given.ctrl_cost_weight, effort(step)),
            "reward_contact": -_contact_cost(step, given.contact_cost_weight, given.contact_cost_range),
        }


class HumanoidStandup(Humanoid):
    """HumanoidStandup-v5: the torso's height, less efforts and contacts; never terminates."""

    # Gymnasium has `uph_cost_weight`, too, which its own reward does not read.
    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "humanoidstandup.xml",
        "frame_skip": 5,
        "ctrl_cost_weight": 0.1,
        "impact_cost_weight": 5e-7,
        "impact_cost_range": (-math.inf, 10.0),
        "reset_noise_scale": 1e-2,
        **HUMANOIDS_OBSERVE,
    }

    def rewards(self, step: Step) -> dict[str, Array]:
        given = self.given
        return {
            "reward_linup": step.data.qpos[2] / self.model.opt.timestep,
            "reward_alive": jnp.ones((), step.ctrl.dtype),
            "reward_quadctrl": weighted(-given.ctrl_cost_weight, effort(step)),
            "reward_impact": -_contact_cost(step, given.impact_cost_weight, given.impact_cost_range),
        }


def _contact_cost(step: Step, weight: float, bounds: tuple[float, float]) -> Array:
    """Of the forces on all bodies, []."""
    cost = jnp.minimum(weighted(weight, jnp.sum(own(step.data).cfrc_ext ** 2)), bounds[1])
    return cost if bounds[0] == -math.inf else jnp.maximum(cost, bounds[0])


class InvertedPendulum(GymnasiumTask):
    """InvertedPendulum-v5: 1 while the pole stands, ends when it leans by more than 0.2 rad."""

    default_engine = "fused"
    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "inverted_pendulum.xml",
        "frame_skip": 2,
        "reset_noise_scale": 0.01,
    }

    def healthy(self, data: Any) -> Array:
        return jnp.abs(data.qpos[1]) <= 0.2

    def rewards(self, step: Step) -> dict[str, Array]:
        return {"reward_survive": step.healthy.astype(step.ctrl.dtype)}


class InvertedDoublePendulum(GymnasiumTask):
    """InvertedDoublePendulum-v5: 10 while the tip is up, less its distance from the top and the links' spin."""

    default_engine, normal_velocities, derives = "fused", True, True
    reset_pool = POOL
    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "inverted_double_pendulum.xml",
        "frame_skip": 5,
        "healthy_reward": 10.0,
        "reset_noise_scale": 0.1,
    }

    def healthy(self, data: Any) -> Array:
        return data.site_xpos[0, 2] > 1

    def seen(self, data: Any) -> dict[str, Array]:
        angles, force = data.qpos[1:], jnp.clip(data.qfrc_constraint[:1], -10, 10)
        return {
            "cart": data.qpos[:1],
            "sin_angles": jnp.sin(angles),
            "cos_angles": jnp.cos(angles),
            "qvel": jnp.clip(data.qvel, -10, 10),
            "cart_qfrc_constraint": force,
        }

    def rewards(self, step: Step) -> dict[str, Array]:
        x, y = step.data.site_xpos[0, 0], step.data.site_xpos[0, 2]
        return {
            "reward_survive": weighted(self.given.healthy_reward, step.healthy.astype(step.ctrl.dtype)),
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
        return data.xpos[self.body_number(name)]


class Pusher(_Placed):
    """Pusher-v5: minus the object's distance from the goal, half its distance from the arm's tip, and efforts."""

    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "pusher_v5.xml",
        "frame_skip": 5,
        "reward_near_weight": 0.5,
        "reward_dist_weight": 1.0,
        "reward_control_weight": 0.1,
    }

    def start(self, key: Key) -> tuple[Array, Array]:
        """The arm at rest, the object anywhere in a rectangle but not within 0.17 m of the goal."""
        velocity_key, place_key = jax.random.split(key)
        low, high = np.array([-0.3, -0.2], np.float32), np.array([0.0, 0.2], np.float32)

        def draw(state: tuple[Key, Array]) -> tuple[Key, Array]:
            key, now = jax.random.split(state[0])
            return key, jax.random.uniform(now, (2,), minval=low, maxval=high)

        _, place = jax.lax.while_loop(lambda s: jnp.sum(s[1] ** 2) <= 0.17**2, draw, (place_key, jnp.zeros(2)))
        qvel = jax.random.uniform(velocity_key, (self.model.nv,), minval=-5e-3, maxval=5e-3)
        qpos = jnp.asarray(self.model.qpos0, place.dtype).at[-4:].set(jnp.concatenate([place, jnp.zeros(2)]))
        return qpos, qvel.at[-4:].set(0)

    def seen(self, data: Any) -> dict[str, Array]:
        bodies = {name: self.body(data, name) for name in ("tips_arm", "object", "goal")}
        return {"arm_qpos": data.qpos[:7], "arm_qvel": data.qvel[:7], **bodies}

    def rewards(self, step: Step) -> dict[str, Array]:
        tip, thing, goal = (self.body(step.data, name) for name in ("tips_arm", "object", "goal"))
        return {
            "reward_dist": weighted(-self.given.reward_dist_weight, jnp.linalg.norm(thing - goal)),
            "reward_near": weighted(-self.given.reward_near_weight, jnp.linalg.norm(thing - tip)),
            "reward_ctrl": weighted(-self.given.reward_control_weight, effort(step)),
        }


class Reacher(_Placed):
    """Reacher-v5: minus the fingertip's distance from the target, and efforts."""

    default_engine = "fused"
    defaults: ClassVar[dict[str, Any]] = {
        "xml_file": "reacher.xml",
        "frame_skip": 2,
        "reward_dist_weight": 1.0,
        "reward_control_weight": 1.0,
    }

    def start(self, key: Key) -> tuple[Array, Array]:
        """The arm nearly stretched and at rest, the target anywhere in a disc of 0.2 m."""
        arm_key, velocity_key, target_key = jax.random.split(key, 3)
        radius, angle = jax.random.uniform(target_key, (2,))
        radius, angle = 0.2 * jnp.sqrt(radius), 2 * jnp.pi * angle
        target = radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        qpos = jax.random.uniform(arm_key, (self.model.nq,), minval=-0.1, maxval=0.1)
        qpos = (jnp.asarray(self.model.qpos0, qpos.dtype) + qpos).at[-2:].set(target)
        qvel = jax.random.uniform(velocity_key, (self.model.nv,), minval=-5e-3, maxval=5e-3)
        return qpos, qvel.at[-2:].set(0)

    def seen(self, data: Any) -> dict[str, Array]:
        angles, reach = data.qpos[:2], self.body(data, "fingertip") - self.body(data, "target")
        return {
            "cos_angles": jnp.cos(angles),
            "sin_angles": jnp.sin(angles),
            "target": data.qpos[2:],
            "arm_qvel": data.qvel[:2],
            "target_to_fingertip": reach[:2],
        }

    def rewards(self, step: Step) -> dict[str, Array]:
        reach = self.body(step.data, "fingertip") - self.body(step.data, "target")
        return {
            "reward_dist": weighted(-self.given.reward_dist_weight, jnp.linalg.norm(reach)),
            "reward_ctrl": weighted(-self.given.reward_control_weight, effort(step)),
        }
