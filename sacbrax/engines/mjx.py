"""MuJoCo's own JAX engine (MJX), carrying only positions and velocities between environment steps.

Knows no task: observation and reward are the environment's.
"""

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import mujoco

from sacbrax.core.types import Array
from sacbrax.engines import mjx_contacts
from sacbrax.engines.model_fields import replaced
from sacbrax.engines.upstream import mjx


class Mjx:
    """Steps `model` by `frame_skip` MJX steps; `solver_iterations` and `ls_iterations` cap the constraint solver."""

    name = "mjx"
    warmstarts = True  # its solver starts where it ended
    takes: ClassVar[frozenset[str]] = frozenset({"solver_iterations", "ls_iterations"})

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        *,
        solver_iterations: int | None = None,
        ls_iterations: int | None = None,
    ) -> None:
        mjx_contacts.check(model)
        self.frame_skip = frame_skip
        self.model = mjx.put_model(model)
        caps = {"iterations": solver_iterations, "ls_iterations": ls_iterations}
        caps = {name: cap for name, cap in caps.items() if cap is not None}
        self.model = self.model.replace(opt=self.model.opt.replace(**caps))
        # By way of the host: committed to a device, as they come, these would make a jitted step compile twice.
        self._template = jax.tree.map(jnp.asarray, jax.device_get(mjx.make_data(model)))

    def step(
        self, qpos: Array, qvel: Array, ctrl: Array, fields: Mapping[str, Array] = MappingProxyType({})
    ) -> tuple[Array, Array]:
        """qpos [nq], qvel [nv], ctrl [nu] -> (qpos, qvel) after `frame_skip` time steps."""
        model = replaced(self.model, fields)
        template = self._template.replace(ctrl=ctrl)

        def substep(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
            qpos, qvel, warmstart = carry
            data = template.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart)
            with _as_mujoco():
                data = mjx.step(model, data)
            return (data.qpos, data.qvel, data.qacc_warmstart), None

        carry = (qpos, qvel, jnp.zeros_like(qvel))
        (qpos, qvel, _), _ = jax.lax.scan(substep, carry, None, self.frame_skip)
        return qpos, qvel

    def start(self, qpos: Array, qvel: Array, fields: Mapping[str, Array] = MappingProxyType({})) -> Any:
        """MJX's data of a state, every derived quantity computed. What the caller does not read costs nothing."""
        with _as_mujoco():
            return mjx.forward(replaced(self.model, fields), self._template.replace(qpos=qpos, qvel=qvel))

    def advance(
        self,
        qpos: Array,
        qvel: Array,
        warmstart: Array,
        ctrl: Array,
        fields: Mapping[str, Array] = MappingProxyType({}),
    ) -> Any:
        """MJX's data after `frame_skip` time steps. Derived quantities, contact forces on bodies among them, are, as in
        MuJoCo, those of the last evaluation of the dynamics, a little before the end."""
        data = self._template.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart, ctrl=ctrl)
        model = replaced(self.model, fields)

        def substep(data: Any, _: None) -> tuple[Any, None]:
            after = mjx.step(model, data)  # in double precision some of its int32 come back as int64
            return jax.tree.map(lambda new, old: new.astype(old.dtype), after, data), None

        with _as_mujoco():
            data, _ = jax.lax.scan(substep, data, None, self.frame_skip)
            return mjx.rne_postconstraint(model, data)


@contextlib.contextmanager
def _as_mujoco() -> Iterator[None]:
    """MJX relies on rank promotion, whatever the caller's own code is held to; its contacts are made MuJoCo's."""
    with jax.numpy_rank_promotion("allow"), mjx_contacts.mujocos_frames():
        yield
