"""MuJoCo's solref and solimp in numbers (manual, "Computation", constraint model)."""

from collections.abc import Sequence

import mujoco

from sacbrax.engines.engine import refuse

MINVAL, MINIMP, MAXIMP = mujoco.mjMINVAL, mujoco.mjMINIMP, mujoco.mjMAXIMP
Impedance = tuple[float, float, float, float, float]  # at 0, at the width, width, midpoint, power


def spring(
    timestep: float, solref: Sequence[float], solimp: Sequence[float], of: str = ""
) -> tuple[float, float, Impedance]:
    """Stiffness [1/s^2], damping [1/s] and impedance of a soft constraint. `of` names it where it is refused."""
    first, second = solref
    dmin, dmax, width, midpoint, power = solimp
    dmin, dmax, midpoint = (min(max(value, MINIMP), MAXIMP) for value in (dmin, dmax, midpoint))
    if (first > 0) != (second > 0):
        refuse(f"the mixed-sign solref {first} {second}{of}")
    if first > 0:
        time = max(first, 2 * timestep)
        stiffness, damping = 1 / (dmax * time * second) ** 2, 2 / (dmax * time)
    else:
        stiffness, damping = -first / dmax**2, -second / dmax
    impedance = float(dmin), float(dmax), float(width), float(midpoint), float(max(power, 1))
    return float(stiffness), float(damping), impedance
