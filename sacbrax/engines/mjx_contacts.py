"""MuJoCo's contact frames between capsules and planes, where MJX's are others.

The tangents of a contact follow the capsule's axis. MJX, up to 3.17 at least, takes the world's y axis instead as soon
as the capsule stands steeper than 60 degrees; MuJoCo does not. Friction is pyramidal and depends on the tangents, so
the ant and the humanoid would not move as Gymnasium's. MJX has no public place for this: its table of collision
functions is another while a program is traced, and only then. An MJX that has no such table steps what has no such
contacts, and `check` refuses the rest.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import mujoco
import numpy as np

from sacbrax.core.errors import ConfigError
from sacbrax.core.machine import installed
from sacbrax.engines.upstream import mjx

TABLE_PATH = ("_src", "collision_driver", "_COLLISION_FUNC")
PAIR = (mjx.GeomType.PLANE, mjx.GeomType.CAPSULE)


def _table(module: Any) -> dict[Any, Any] | None:
    """MJX's functions by pair of shapes; None where this version keeps them elsewhere."""
    for name in TABLE_PATH:
        module = getattr(module, name, None)
    return module if isinstance(module, dict) and PAIR in module else None


TABLE = _table(mjx)


def check(model: mujoco.MjModel) -> None:
    """Raise `ConfigError` for a model with contacts of planes and capsules where MJX's table is not found."""
    if TABLE is not None:
        return
    planes, capsules = (model.geom_type == int(shape) for shape in PAIR)
    meets = model.geom_contype[:, None] & model.geom_conaffinity[None, :]
    if np.any((meets | meets.T)[planes][:, capsules]):
        versions = ", ".join(f"{name} {version}" for name, version in installed("mujoco-mjx").items())
        raise ConfigError(
            f"env.engine: mjx: contacts of capsules with a plane cannot be made MuJoCo's in {versions}; "
            "install mujoco-mjx 3.17, or choose another engine"
        )


@contextlib.contextmanager
def mujocos_frames() -> Iterator[None]:
    """MJX programs traced in here have MuJoCo's contact frames, if they have such contacts (`check`)."""
    if TABLE is None:
        yield
        return
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
