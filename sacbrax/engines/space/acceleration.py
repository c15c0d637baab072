"""The accelerations of a tree in space: its motion, its constraints, and the minimum that both decide."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sacbrax.core.types import Array
from sacbrax.engines.newton import minimize
from sacbrax.engines.rows import Rows, add, column, dot
from sacbrax.engines.space.constraints import Constraints, Pushing, constraints
from sacbrax.engines.space.dynamics import UPRIGHT, Coordinates, State, motion, placed, rotation
from sacbrax.engines.space.floating import exponential, product, rate, unit
from sacbrax.engines.space.groups import joined
from sacbrax.engines.space.mechanism import Mechanism
from sacbrax.engines.space.problem import SpaceProblem
from sacbrax.engines.space.solve import factored, substituted
from sacbrax.engines.space.vectors import turned
from sacbrax.engines.swimmer.dynamics import sincos


class Layout(NamedTuple):
    """Rows of positions, for time steps to add up: place [3] and rotation vector [3] of a floating body, the groups,
    and its orientation at the step's start as a quaternion [4]. Velocities are MuJoCo's in the same order, without it.
    """

    mechanism: Mechanism

    @property
    def floats(self) -> bool:
        return self.mechanism.root is not None

    @property
    def nq(self) -> int:
        return len(self.mechanism.nodes) + 7 * self.floats

    def positions(self, qpos: Array) -> Rows:
        """Of qpos [N, nq]."""
        columns, nodes = qpos.T[:, None], self.mechanism.nodes
        groups = [joined([columns[nodes[i].position] for i in group]) for group in self.mechanism.groups]
        if not self.floats:
            return groups
        still = [columns[0] * 0.0] * 3
        return [*columns[:3], *still, *groups, *unit(columns[3:7])]

    def velocities(self, qvel: Array) -> Rows:
        """Of qvel [N, nv]."""
        columns, nodes = qvel.T[:, None], self.mechanism.nodes
        groups = [joined([columns[nodes[i].dof] for i in group]) for group in self.mechanism.groups]
        return [*columns[:6], *groups] if self.floats else groups

    def qpos(self, q: Rows) -> Array:
        """[N, nq] of positions at the end of a step."""
        return self._joined([*q[:3], *q[-4:]] if self.floats else [], self.groups(q), [n.position for n in self._nodes])

    def qvel(self, v: Rows) -> Array:
        """[N, nv]."""
        return self._joined(v[:6] if self.floats else [], self.groups(v), [node.dof for node in self._nodes])

    def groups(self, rows: Rows) -> Rows:
        """Of positions or velocities."""
        start = 6 if self.floats else 0
        return rows[start : start + len(self.mechanism.groups)]

    def orientation(self, q: Rows) -> tuple[Any, ...]:
        """The quaternion of now."""
        return product(q[-4:], exponential(tuple(q[3:6]))) if self.floats else ()

    def rates(self, q: Rows, v: Rows) -> Rows:
        """How fast positions change; of the quaternion at the step's start, not."""
        if not self.floats:
            return v
        return [*v[:3], *rate(tuple(q[3:6]), tuple(v[3:6])), *v[6:], 0.0, 0.0, 0.0, 0.0]

    def settled(self, q: Rows) -> Rows:
        """The end of a step as the start of the next."""
        if not self.floats:
            return q
        return [*q[:3], *(jnp.zeros_like(x) for x in q[3:6]), *q[6:-4], *unit(self.orientation(q))]

    def speed(self, quaternion: tuple[Any, ...], v: Rows) -> tuple[Any, ...]:
        """Motion of a floating body."""
        return (*turned(rotation(quaternion), v[3:6]), *v[:3]) if self.floats else ()

    def accelerations(self, state: State, joints: Coordinates) -> Rows:
        """As velocities are laid out."""
        own = [*joints.root[3:], *(dot(column, joints.root[:3]) for column in state.frames.root)] if self.floats else []
        return [*own, *joints.nodes]

    @property
    def _nodes(self) -> Any:
        return self.mechanism.nodes

    def _joined(self, root: Rows, groups: Rows, places: list[int]) -> Array:
        rows: Rows = [*root, *(None for _ in places)]
        each = [x[k] for x in groups for k in range(x.shape[0])]
        for place, row in zip(places, each, strict=True):
            rows[place] = row[None]
        return joined(rows).T


class Evaluation(NamedTuple):
    """Of a state."""

    moving: Rows  # what moves the velocities in a time step, as they are laid out
    state: State
    rows: Constraints
    residuals: Pushing


def motor_forces(mechanism: Mechanism, ctrl: Array) -> Rows:
    """At the nodes, by group, of controls [N, nu], which are clipped to the model's range."""
    by_dof: dict[int, Any] = {}
    for motor, u in zip(mechanism.motors, ctrl.T[:, None], strict=True):
        force = motor.gear * jnp.minimum(jnp.maximum(u, motor.low), motor.high)
        by_dof[motor.dof] = add(by_dof.get(motor.dof, 0.0), force)
    zero = jnp.zeros((1, ctrl.shape[0]), ctrl.dtype)
    dofs = [[mechanism.nodes[i].dof for i in group] for group in mechanism.groups]
    return [joined([by_dof.get(dof, zero) for dof in group]) for group in dofs]


def unknown(mechanism: Mechanism, like: Array) -> Rows:
    """A guess for `evaluate` that all constraints push."""
    counts = [len(mechanism.contacts)] * 4 + [sum(node.limit is not None for node in mechanism.nodes)]
    return [jnp.full((count, like.shape[1]), -1.0, like.dtype) for count in counts if count]


def evaluate(mechanism: Mechanism, q: Rows, v: Rows, forces: Rows, guess: Rows, timestep: float) -> Evaluation:
    """Positions and velocities as `Layout` has them, forces at the nodes, and a guess at which constraints push: the
    residuals of an evaluation before. With `timestep` > 0 the damping is implicit, as in Euler's steps."""
    layout = Layout(mechanism)
    quaternion = layout.orientation(q)
    speed = layout.speed(quaternion, v)
    at, moving = layout.groups(q), layout.groups(v)
    frames = placed(mechanism, rotation(quaternion) if quaternion else UPRIGHT, at, sincos)
    state = motion(mechanism, frames, speed, at, moving, forces)
    rows = constraints(mechanism, state, q[2] if quaternion else 0.0, at, moving)
    still = Coordinates(tuple(jnp.zeros_like(x) for x in speed), [jnp.zeros_like(x) for x in moving])
    kinds = jax.tree.structure(rows.stiffness())
    joints, residuals = minimize(SpaceProblem(mechanism, state, rows), still, jax.tree.unflatten(kinds, guess))
    moved = joints
    if timestep and any(node.damping for node in mechanism.nodes):
        force, push = rows.pushes(residuals, state)
        extra = [
            timestep * column([mechanism.nodes[i].damping for i in group], x)
            for group, x in zip(mechanism.groups, moving, strict=True)
        ]
        damped = factored(mechanism, state, state.root_inertia, state.inertia, extra)
        moved, _ = substituted(mechanism, state, damped, force, push)
    return Evaluation(layout.accelerations(state, moved), state, rows, residuals)
