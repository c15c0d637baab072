"""MuJoCo's problem of a planar tree, as Newton's method asks for it: the sweeps over the tree with its constraints."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sacbrax.core.types import Array
from sacbrax.engines.newton import joined
from sacbrax.engines.planar.constraints import Constraints, Pushing
from sacbrax.engines.planar.dense import eliminated, mass_matrix
from sacbrax.engines.planar.dynamics import Motion, Triple, accelerations, apply, factored, substituted
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.planar.pairs import coupled
from sacbrax.engines.rows import Rows, add, dot


class PlanarProblem(NamedTuple):
    """Of one state; joints are rows [nv]."""

    mechanism: Mechanism
    state: Motion
    rows: Constraints

    def stiffness(self) -> Pushing:
        """D of all rows."""
        return self.rows.stiffness()

    def residuals(self, joints: Rows) -> Pushing:
        """J a - aref."""
        return self.rows.residuals(joints, accelerations(self.mechanism, self.state.axis, joints))

    def solved(self, pushing: Pushing) -> tuple[Rows, Pushing]:
        """One sweep over the tree that these rows make heavier."""
        mechanism, state = self.mechanism, self.state
        heavy, extra, force, push = self.rows.loaded(pushing, state.inertia, state.force)
        tree = factored(mechanism, state.axis, heavy, extra)
        joints, carried = substituted(mechanism, state.axis, tree, force, push)
        if self.rows.pairs is not None:
            joints, carried = self._coupled(heavy, extra, pushing, joints, carried)
        return joints, self.rows.residuals(joints, carried)

    def curvature(self, way: Rows) -> Array:
        """d' M d."""
        moved = accelerations(self.mechanism, self.state.axis, way)
        own = [dot(a, apply(i, a)) for i, a in zip(self.state.inertia, moved, strict=True) if i is not None]
        return add(*own, *(dof.armature * d * d for dof, d in zip(self.mechanism.dofs, way, strict=True)))

    def changed(self, pushing: Pushing, there: Pushing) -> list[Array]:
        """Of each kind of constraint."""
        changed = joined(lambda a, e, d: (a ^ (e < 0)) & (d > 0), pushing, there, self.stiffness())
        touches = [] if self.rows.touches is None else [changed.normal | changed.upper | changed.lower]
        coupled = [] if self.rows.pairs is None else [functools.reduce(jnp.logical_or, changed.pair)]
        return touches + ([] if changed.stop is None else [changed.stop]) + coupled

    def _coupled(
        self, heavy: list[Any], extra: Rows, pushing: Pushing, joints: Rows, carried: list[Triple]
    ) -> tuple[Rows, list[Triple]]:
        """With the contacts between two bodies, in a loop of one round or none: bodies hardly ever touch."""
        mechanism, axis, pairs = self.mechanism, self.state.axis, self.rows.pairs
        assert pairs is not None

        def correct(now: Any) -> Any:
            _, joints, carried = now
            alone = mass_matrix(mechanism, axis, heavy, extra, pairs.u)
            change = eliminated(*coupled(mechanism, axis, pairs, pushing.pair, pairs.residuals(carried), alone))
            joints = [a + b for a, b in zip(joints, change, strict=True)]
            return False, joints, accelerations(mechanism, axis, joints)

        pushed = joined(lambda on, d: on & (d > 0), pushing.pair, pairs.stiffness)
        begin = (functools.reduce(jnp.logical_or, pushed).any(), joints, carried)
        return jax.lax.while_loop(lambda now: now[0], correct, begin)[1:]
