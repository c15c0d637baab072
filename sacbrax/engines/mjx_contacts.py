"""MuJoCo's contact frames between capsules and planes, where MJX's are others.

The tangents of a contact follow the capsule's axis. MJX, up to 3.17 at least, takes the world's y axis instead as soon
as the capsule stands steeper than 60 degrees; MuJoCo does not. Friction is pyramidal and depends on the tangents, so
the ant and the humanoid would not move as Gymnasium's. MJX has no public place for this: its table of collision
functions is another while a program is traced, and only then.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from sacbrax.engines.upstream import mjx

TABLE: dict[Any, Any] = mjx._src.collision_driver._COLLISION_FUNC
PAIR = (mjx.GeomType.PLANE, mjx.GeomType.CAPSULE)


@contextlib.contextmanager
def mujocos_frames() -> Iterator[None]:
    """MJX programs traced in here have MuJoCo's contact frames."""
    theirs = TABLE[PAIR]

    def plane_capsule(model: Any, data: Any, key: Any, geom: Any) -> Any:
        distance, place, _ = theirs(model, data, key, geom)
        normal, axis = data.geom_xmat[geom[:, 0], :, 2], data.geom_xmat[geom[:, 1], :, 2]  # [pairs, 3]
        along = axis - normal * jnp.sum(normal * axis, axis=1, keepdims=True)
        along /= jnp.maximum(jnp.linalg.norm(along, axis=1, keepdims=True), 1e-12)
        frame = jnp.stack([normal, along, jnp.cross(normal, along)], axis=1)
        return distance, place, jnp.repeat(frame, theirs.ncon, axis=0)

    plane_capsule.ncon = theirs.ncon  # type: ignore[attr-defined]
    TABLE[PAIR] = plane_capsule
    try:
        yield
    finally:
        TABLE[PAIR] = theirs
