"""The fused engine: MuJoCo's physics written out as arithmetic, for the mechanisms whose equations are here."""

import mujoco

from sacbrax.engines.engine import Engine
from sacbrax.engines.planar.engine import FusedPlanar
from sacbrax.engines.planar.mechanism import moves_in_a_plane
from sacbrax.engines.space.engine import FusedSpace
from sacbrax.engines.swimmer.engine import FusedSwimmer


def fused(model: mujoco.MjModel, frame_skip: int) -> Engine:
    """The engine of `model`: planar mechanisms in a fluid are swimmers; without one there are contacts, in a plane or
    in space.

    Raises `ValueError` with one line that names what none covers.
    """
    if model.opt.density or model.opt.viscosity:
        return FusedSwimmer(model, frame_skip)
    return (FusedPlanar if moves_in_a_plane(model) else FusedSpace)(model, frame_skip)
