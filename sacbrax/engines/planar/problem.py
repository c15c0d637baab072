"""MuJoCo's problem of a planar tree, as Newton's method asks for it: the sweeps over the tree with its constraints."""

import functools
from typing import Any, NamedTuple

import jax

from sacbrax.core.types import Array
from sacbrax.engines.newton import joined
from sacbrax.engines.planar.constraints import Constraints, Pushing
from sacbrax.engines.planar.dynamics import Factors, Motion, accelerations, apply, factored, substituted
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.planar.pairs import corrected
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
        found = joints, self.rows.residuals(joints, carried)
        return found if self.rows.pairs is None else self._coupled(tree, pushing, *found)

    def curvature(self, way: Rows) -> Array:
        """d' M d."""
        moved = accelerations(self.mechanism, self.state.axis, way)
        own = [dot(a, apply(i, a)) for i, a in zip(self.state.inertia, moved, strict=True) if i is not None]
        return add(*own, *(dof.armature * d * d for dof, d in zip(self.mechanism.dofs, way, strict=True)))

    def changed(self, pushing: Pushing, there: Pushing) -> list[Array]:
        """Of each kind of constraint."""
        changed = joined(lambda a, e, d: (a ^ (e < 0)) & (d > 0), pushing, there, self.stiffness())
        touches = [] if self.rows.touches is None else [changed.normal | changed.upper | changed.lower]
        return touches + [x for x in (changed.stop, changed.pair) if x is not None]

    def _coupled(self, tree: Factors, pushing: Pushing, joints: Rows, found: Pushing) -> tuple[Rows, Pushing]:
        """With the contacts between two bodies, in a loop of one round or none: bodies hardly ever touch."""
        pairs = self.rows.pairs
        assert pairs is not None

        def correct(now: Any) -> Any:
            _, joints, found = now
            alone = functools.partial(
                substituted,
                self.mechanism,
                [_widened(axis) for axis in self.state.axis],
                Factors(*([_widened(x) for x in part] for part in tree)),
                [0.0] * len(self.mechanism.dofs),
            )
            change = corrected(alone, pairs, pushing.pair, found.pair)
            joints = [a + b for a, b in zip(joints, change, strict=True)]
            return False, joints, self.residuals(joints)

        begin = ((pairs.stiffness > 0).any(), joints, found)
        _, joints, found = jax.lax.while_loop(lambda now: now[0], correct, begin)
        return joints, found


def _widened(x: Any) -> Any:
    """Rows [N] of one solve for many right-hand sides, [1, N]."""
    return tuple(map(_widened, x)) if isinstance(x, tuple) else x if isinstance(x, float) else x[None]
