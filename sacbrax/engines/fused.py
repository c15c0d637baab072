"""The fused engine: MuJoCo's physics written out as arithmetic, for the mechanisms whose equations are here."""

import mujoco

from sacbrax.engines.engine import Engine
from sacbrax.engines.planar.engine import FusedPlanar
from sacbrax.engines.swimmer.engine import FusedSwimmer


def fused(model: mujoco.MjModel, frame_skip: int) -> Engine:
    """The engine of `model`: planar mechanisms in a fluid are swimmers, those without one have contacts.

    Raises `ValueError` with one line that names what neither covers.
    """
    return (FusedSwimmer if model.opt.density or model.opt.viscosity else FusedPlanar)(model, frame_skip)
