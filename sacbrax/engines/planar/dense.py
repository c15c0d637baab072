"""The mass matrix of a planar tree as numbers, for what couples bodies that the sweeps over the tree keep apart.

Its rows are arrays [i + 1, N], up to the diagonal: few operations, since it is hardly ever needed and has to be
compiled all the same, and on short arrays, since XLA would divide one on the whole matrix among threads.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sacbrax.core.types import Array
from sacbrax.engines.planar.dynamics import Inertia, Triple, apply
from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.rows import Rows, add, dot, plus
from sacbrax.engines.soft import stacked


def mass_matrix(
    mechanism: Mechanism, axis: Sequence[Triple], inertia: Sequence[Inertia | None], extra: Rows, like: Array
) -> list[Array]:
    """Of the inertias that hang on each joint, and of joint inertias beside the armatures; like: [..., N]."""
    whole: list[Any] = list(inertia)
    ways = columns(axis, like)
    matrix: list[Any] = [None] * len(whole)
    for i in reversed(range(len(whole))):
        dof = mechanism.dofs[i]
        reach = columns([apply(whole[i], axis[i])], like)
        carry, own = np.zeros((i + 1, 1)), np.zeros((i + 1, 1))  # which joints carry this one, and itself
        own[i] = carry[mechanism.carriers(i)] = 1.0
        if (k := dof.parent) >= 0:
            whole[k] = whole[i] if whole[k] is None else plus(whole[k], whole[i])
        felt = dot(reach, [x[: i + 1] for x in ways])
        beside = stacked([add(dof.armature, extra[i])], like)
        matrix[i] = jnp.asarray(carry, like.dtype) * felt + jnp.asarray(own, like.dtype) * beside
    return matrix


def columns(triples: Sequence[Triple], like: Array) -> tuple[Array, Array, Array]:
    """Motions or forces as three arrays [K, N]; like: [..., N]."""
    turn, along, up = (stacked([x[k] for x in triples], like) for k in range(3))
    return turn, along, up


def eliminated(matrix: Sequence[Array], force: Array) -> Rows:
    """x of matrix x = force [nv, N], positive definite and so without pivots."""
    left, shares = list(matrix), []
    for i in reversed(range(len(left))):
        inverse = 1.0 / left[i][i:]
        own = left[i][:i] * inverse
        shares.append((own, force[i] * inverse[0]))
        left[:i] = [row - own[j][None] * left[i][: j + 1] for j, row in enumerate(left[:i])]
        force = force[:i] - own * force[i:]
    found: Rows = []
    for own, alone in reversed(shares):
        found.append(alone - jnp.sum(own * jnp.stack(found), axis=0) if found else alone)
    return found
