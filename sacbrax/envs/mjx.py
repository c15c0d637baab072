"""MuJoCo's own JAX engine (MJX), carrying only positions and velocities between environment steps."""

import jax
import jax.numpy as jnp
import mujoco

from sacbrax.envs.quiet import mjx
from sacbrax.types import Array


class Mjx:
    """Steps `model` by `frame_skip` MJX steps; `solver_iterations` and `ls_iterations` cap the constraint solver."""

    name = "mjx"

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        *,
        solver_iterations: int | None = None,
        ls_iterations: int | None = None,
    ) -> None:
        self.frame_skip = frame_skip
        self._model = mjx.put_model(model)
        caps = {"iterations": solver_iterations, "ls_iterations": ls_iterations}
        caps = {name: cap for name, cap in caps.items() if cap is not None}
        self._model = self._model.replace(opt=self._model.opt.replace(**caps))
        # By way of the host: committed to a device, as they come, these would make a jitted step compile twice.
        self._template = jax.tree.map(jnp.asarray, jax.device_get(mjx.make_data(model)))

    def step(self, qpos: Array, qvel: Array, ctrl: Array) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps."""
        template = self._template.replace(ctrl=ctrl)

        def substep(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
            qpos, qvel, warmstart = carry
            data = template.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart)
            with jax.numpy_rank_promotion("allow"):  # MJX relies on it, whatever the caller's own code is held to
                data = mjx.step(self._model, data)
            return (data.qpos, data.qvel, data.qacc_warmstart), None

        carry = (qpos, qvel, jnp.zeros_like(qvel))
        (qpos, qvel, _), _ = jax.lax.scan(substep, carry, None, self.frame_skip)
        return qpos, qvel
