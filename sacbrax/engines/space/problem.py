"""MuJoCo's problem of a tree in space, as Newton's method asks for it: sweeps over the tree with its constraints."""

from typing import NamedTuple

import jax.numpy as jnp

from sacbrax.core.types import Array
from sacbrax.engines.newton import joined, total
from sacbrax.engines.rows import column, dot, mul
from sacbrax.engines.space.constraints import Constraints, Pushing
from sacbrax.engines.space.dynamics import Coordinates, State
from sacbrax.engines.space.mechanism import Mechanism
from sacbrax.engines.space.solve import accelerations, factored, substituted
from sacbrax.engines.space.vectors import apply


class SpaceProblem(NamedTuple):
    """Of one state."""

    mechanism: Mechanism
    state: State
    rows: Constraints

    def stiffness(self) -> Pushing:
        """D of all rows."""
        return self.rows.stiffness()

    def residuals(self, joints: Coordinates) -> Pushing:
        """J a - aref."""
        return self.rows.residuals(joints, *accelerations(self.mechanism, self.state, joints))

    def solved(self, pushing: Pushing) -> tuple[Coordinates, Pushing]:
        """One sweep over the tree that these rows make heavier."""
        root, inertia, extra, force, push = self.rows.loaded(pushing, self.state)
        tree = factored(self.mechanism, self.state, root, inertia, extra)
        joints, (at_root, carried) = substituted(self.mechanism, self.state, tree, force, push)
        return joints, self.rows.residuals(joints, at_root, carried)

    def curvature(self, way: Coordinates) -> Array:
        """d' M d."""
        mechanism, state = self.mechanism, self.state
        root, moved = accelerations(mechanism, state, way)
        own = [dot(a, apply(inertia, a)) for a, inertia in zip(moved, state.inertia, strict=True)]
        if state.root_inertia is not None:
            own.append(dot(root, apply(state.root_inertia, root)))
        for group, d in zip(mechanism.groups, way.nodes, strict=True):
            own.append(mul(column([mechanism.nodes[i].armature for i in group], d), d * d))
        like = way.nodes[0] if way.nodes else way.root[0]
        return total([jnp.broadcast_to(x, (max(jnp.shape(x)[:1], default=1), like.shape[1])) for x in own])

    def changed(self, pushing: Pushing, there: Pushing) -> list[Array]:
        """Of each kind of constraint."""
        changed = joined(lambda a, e, d: (a ^ (e < 0)) & (d > 0), pushing, there, self.stiffness())
        first, *more = changed.edges or (None,)
        for edge in more:
            first = first | edge
        return [x for x in (first, changed.stop) if x is not None]
