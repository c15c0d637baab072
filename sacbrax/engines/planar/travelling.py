"""What travels: slides of the root along the floor, on whose place nothing depends.

Physics is computed as if they were at their origin. Far away float32 places contacts so coarsely that no forces solve
them: with a cheetah 64 m from the origin Newton's method took 25 times as long.
"""

import itertools

import jax.numpy as jnp

from sacbrax.engines.planar.mechanism import Mechanism
from sacbrax.engines.rows import Rows


def travelling(mechanism: Mechanism) -> list[int]:
    """Numbers of these joints: neither a spring nor a limit knows where they are, nor a body beside the root's."""
    roots = [body for body in mechanism.bodies[1:] if body.parent == 0]
    if len(roots) != 1 or roots[0].angle or any(0 in (pair.one.body, pair.two.body) for pair in mechanism.pairs):
        return []
    upright = itertools.takewhile(lambda i: mechanism.dofs[i].slide, roots[0].dofs)  # what a hinge carries turns
    level = [i for i in upright if mechanism.dofs[i].axis[1] == 0]
    return [i for i in level if not mechanism.dofs[i].stiffness and mechanism.dofs[i].limit is None]


def from_the_origin(mechanism: Mechanism, q: Rows) -> tuple[Rows, Rows]:
    """Positions with what travels at its origin, and how far from there it is; the number 0 of other joints."""
    near, gone = list(q), [0.0] * len(q)
    for i in travelling(mechanism):
        at_zero = mechanism.dofs[i].at_zero
        near[i], gone[i] = jnp.full_like(q[i], at_zero), q[i] - at_zero
    return near, gone
