"""The one solve that everything comes down to: the tree's mass matrix, factored by a sweep from the leaves to the root.

Rows are [K, N] as in `groups.py`; motions and forces as in `vectors.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sacbrax.engines.rows import Row, add, column, dot, mul, plus, scale, sub
from sacbrax.engines.space.dynamics import Coordinates, State
from sacbrax.engines.space.groups import Totals, filled, gathered, joined, whole
from sacbrax.engines.space.mechanism import ROOT, Mechanism
from sacbrax.engines.space.vectors import ENTRY, NOTHING, Inertia, Motion, apply, without


def accelerations(mechanism: Mechanism, state: State, joints: Coordinates) -> tuple[Motion, list[Motion]]:
    """Motions of the root and of what each node carries, from the joints' own."""
    root: Motion = joints.root or NOTHING
    found: list[Motion] = []
    for g, group in enumerate(mechanism.groups):
        above = gathered(mechanism, group, root, found)
        found.append(plus(above, scale(joints.nodes[g], state.axis[g])))
    return root, found


class Factors(NamedTuple):
    """Of the tree's mass matrix: what one sweep from its leaves to its root leaves. By group."""

    reach: list[Motion]  # momentum of what the node carries, at one unit of its speed
    inverse: list[Row]  # of the inertia that the node feels
    share: list[Motion]  # inverse times reach
    root: "Elimination | None"


class Elimination(NamedTuple):
    """Of the root's equations as L D L': columns of L below its diagonal, [5, N] to [0, N], and 1 / D, [1, N]."""

    columns: list[Any]
    inverse: list[Any]


def factored(
    mechanism: Mechanism, state: State, root: Inertia | None, inertia: Sequence[Inertia], extra: Sequence[Row]
) -> Factors:
    """inertia: of what hangs on each node. extra: inertia of each node beside its armature."""
    n = len(mechanism.groups)
    total = Totals(mechanism)
    if root is not None:
        total.give(ROOT, root)
    for g in range(n):
        total.give(g, inertia[g])
    reach: list[Any] = [None] * n
    share: list[Any] = [None] * n
    inverse: list[Any] = [None] * n
    for g in reversed(range(n)):
        nodes = [mechanism.nodes[i] for i in mechanism.groups[g]]
        own, axis, like = total.groups[g], state.axis[g], state.force.nodes[g]
        assert own is not None
        reach[g] = apply(own, axis)
        armature = column([node.armature for node in nodes], like)
        inverse[g] = 1.0 / add(dot(axis, reach[g]), armature, extra[g])
        share[g] = scale(inverse[g], reach[g])
        total.give_to([node.parent for node in nodes], whole(without(own, reach[g], share[g]), like))
    return Factors(reach, inverse, share, None if root is None else _decomposed(total.root))


def _decomposed(inertia: Any) -> Elimination:
    """Of L D L', as arrays, which are quicker to compile."""
    like = next(x for x in inertia if not isinstance(x, float))
    flat = joined([filled(inertia[k], like, 1) for row in ENTRY for k in row])
    rest = flat.reshape(6, 6, flat.shape[1])
    columns, inverse = [], []
    for _ in range(6):
        inverse.append(1.0 / rest[0, :1])
        columns.append(rest[0, 1:] * inverse[-1])
        rest = rest[1:, 1:] - columns[-1][:, None] * rest[:1, 1:]
    return Elimination(columns, inverse)


def _root_solved(factors: Elimination, force: Motion) -> Motion:
    columns, inverse = factors
    left, x = joined([filled(row, columns[0], 1) for row in force]), []
    for below in columns:
        x.append(left[:1])
        left = left[1:] - below * x[-1]
    found: list[Row] = []
    for below, inverted, row in zip(reversed(columns), reversed(inverse), reversed(x), strict=True):
        found.insert(0, sub(row * inverted, dot([below[k : k + 1] for k in range(len(found))], found)))
    return tuple(found)


def substituted(
    mechanism: Mechanism, state: State, factors: Factors, force: Coordinates, push: Totals
) -> tuple[Coordinates, tuple[Motion, list[Motion]]]:
    """Accelerations of the joints, and of what they carry, by one sweep down the tree and one up.

    force: at the joints. push: forces on what hangs on a node; it is used up.
    """
    n = len(mechanism.groups)
    own: list[Any] = [None] * n
    for g in reversed(range(n)):
        pushed, like = push.groups[g], state.force.nodes[g]
        own[g] = force.nodes[g] if pushed is None else add(force.nodes[g], dot(state.axis[g], pushed))
        given = scale(-own[g], factors.share[g])
        given = given if pushed is None else plus(pushed, given)
        push.give_to([mechanism.nodes[i].parent for i in mechanism.groups[g]], whole(given, like))
    root: Motion = ()
    if factors.root is not None:
        root = _root_solved(factors.root, force.root if push.root is None else plus(force.root, push.root))
    joints: list[Any] = []
    carried: list[Motion] = []
    for g, group in enumerate(mechanism.groups):
        above = gathered(mechanism, group, root or NOTHING, carried)
        joints.append(mul(sub(own[g], dot(factors.reach[g], above)), factors.inverse[g]))
        carried.append(plus(above, scale(joints[g], state.axis[g])))
    return Coordinates(root, joints), (root or NOTHING, carried)
