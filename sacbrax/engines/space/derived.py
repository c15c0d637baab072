"""What MuJoCo derives of a state and tasks read: where bodies are, and what contacts do to them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct

from sacbrax.core.types import Array
from sacbrax.engines.rows import Rows, add, plus
from sacbrax.engines.space.acceleration import Evaluation, Layout
from sacbrax.engines.space.dynamics import UPRIGHT, placed, rotation
from sacbrax.engines.space.groups import filled, joined, taken
from sacbrax.engines.space.mechanism import Mechanism
from sacbrax.engines.space.vectors import at_point, turned
from sacbrax.engines.swimmer.dynamics import sincos

FIRST_MOMENT = (13, 8, 9)  # where an inertia about the reference has mass times place of the centre


class Derived(struct.PyTreeNode):
    """Fields of MuJoCo's `mjData`, by their names there."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    xpos: Array  # [nbody, 3] m, of the bodies' frames
    cfrc_ext: Array  # [nbody, 6] moments about the centre of mass, N m, and forces, N; of the world, as there, none


class Trace(NamedTuple):
    """What the loop over the stages remembers of the last evaluation: positions, and the forces of the contacts."""

    mechanism: Mechanism

    def rows(self, q: Rows, found: Evaluation) -> Rows:
        """Of an evaluation."""
        layout = Layout(self.mechanism)
        at = [*q[:3], *layout.groups(q), *layout.orientation(q)] if layout.floats else q
        forces, _ = found.rows.forces(found.residuals)
        touches = found.rows.touches
        if forces is None or touches is None:
            return at
        return [*at, *forces, *touches.point, *self._centre(found)]

    def empty(self, q: Rows) -> Rows:
        """Of none."""
        layout = Layout(self.mechanism)
        at = [*q[:3], *layout.groups(q), *q[-4:]] if layout.floats else q
        if not self.mechanism.contacts:
            return at
        zero = jnp.zeros_like(q[0][:1])
        return [*at, *[filled(zero, zero, len(self.mechanism.contacts))] * 6, *[zero] * 3]

    def columns(self, rows: Rows) -> Array:
        """Positions and forces on the bodies, [N, nq + 6 nbody]."""
        mechanism, layout = self.mechanism, Layout(self.mechanism)
        count = len(mechanism.groups) + 7 * layout.floats
        at, more = rows[:count], rows[count:]
        qpos = layout.qpos([*at[:3], *[at[0]] * 3, *at[3:]] if layout.floats else at)
        wrench = np.zeros((6, mechanism.bodies)).tolist()
        if more:
            x, y, z = (a - b for a, b in zip(more[3:6], more[6:9], strict=True))
            on = at_point((x, y, z), tuple(more[:3]))
            for c, contact in enumerate(mechanism.contacts):
                for k in range(6):
                    wrench[k][contact.body] = add(wrench[k][contact.body], on[k][c : c + 1])
        flat = [filled(wrench[k][b], at[0], 1) for b in range(mechanism.bodies) for k in range(6)]
        return jnp.concatenate([qpos, joined(flat).T], axis=1)

    def _centre(self, found: Evaluation) -> Rows:
        """Of the mass of all that moves, from the reference, by the first moments in the inertias."""
        state, like = found.state, found.moving[0]
        groups = [(x, len(group)) for x, group in zip(state.inertia, self.mechanism.groups, strict=True)]
        moving = groups if state.root_inertia is None else [(state.root_inertia, 1), *groups]

        def total(k: int) -> Array:
            return add(*(jnp.sum(filled(rows[k], like, count), axis=0, keepdims=True) for rows, count in moving))

        return [total(k) / self.mechanism.mass for k in FIRST_MOMENT]


def derive(mechanism: Mechanism, qpos: Array, qvel: Array, last: Array) -> Derived:
    """The state to tell, and of the last evaluation what `Trace.columns` has, [nq + 6 nbody]."""
    layout = Layout(mechanism)
    q = layout.positions(last[None, : layout.nq])
    frames = placed(mechanism, rotation(tuple(q[-4:])) if layout.floats else UPRIGHT, layout.groups(q), sincos)
    like = q[0][:1]
    root = (*(x for column in frames.root for x in column), 0.0, 0.0, 0.0)
    rows = [(*x, *y, *z, *o) for (x, y, z), o in zip(frames.columns, frames.origins, strict=True)]
    places = []
    for node, place in mechanism.places[1:]:
        found = taken(mechanism, [node], root, rows)
        at = plus(found[9:], turned((found[:3], found[3:6], found[6:9]), place))
        if layout.floats:
            at = plus(at, q[:3])
        places.append(joined([filled(x, like, 1) for x in at])[:, 0])
    xpos = jnp.stack([jnp.zeros(3, qpos.dtype), *places])
    return Derived(qpos, qvel, xpos, last[layout.nq :].reshape(-1, 6))
