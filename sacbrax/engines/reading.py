"""What every fused engine with contacts reads of an `MjModel` in the same way: soft constraints, motors, which geoms
may touch; and the refusals of what none of them has.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import mujoco
import numpy as np

from sacbrax.engines.engine import refuse
from sacbrax.engines.solver_parameters import MINVAL, Impedance, spring


@dataclasses.dataclass(frozen=True)
class Soft:
    """A soft constraint's spring: reference acceleration -damping v - stiffness impedance(r) r."""

    stiffness: float
    damping: float
    impedance: Impedance


@dataclasses.dataclass(frozen=True)
class Limit:
    """The range of a joint."""

    low: float
    high: float
    soft: Soft
    invweight: float


@dataclasses.dataclass(frozen=True)
class Motor:
    """A motor on a joint: force gear * clip(ctrl)."""

    dof: int
    gear: float
    low: float
    high: float


def name_of(model: mujoco.MjModel, kind: str, i: int) -> str:
    """Of a joint or geom, for people."""
    found = getattr(model, kind)(i).name
    return found or f"number {i}"


ABSENT = {
    "neq": "equality constraints",
    "ntendon": "tendons",
    "na": "actuators with a state",
    "nmocap": "mocap bodies",
    "npair": "explicit contact pairs",
    "nflex": "flexible bodies",
    "nplugin": "plugins",
    "nplastic": "springs that yield",
    "nhistory": "delays",
}
# Asked for by name where a comparison of smooth accelerations does not show it: delays, moving surfaces, yielding.
ZERO = (
    "dof_frictionloss", "jnt_actgravcomp", "body_gravcomp", "jnt_actfrclimited", "actuator_forcelimited",
    "actuator_delay", "geom_surfacevel",
)  # fmt: skip


def check_options(model: mujoco.MjModel, flags: int = 0, absent: Mapping[str, str] = MappingProxyType(ABSENT)) -> None:
    """Raise `ValueError` with one line for what a fused engine with contacts does not cover. `flags`: the bits of
    `opt.disableflags` that this one knows."""
    opt = model.opt
    if int(opt.integrator) not in (0, 1):
        refuse(f"the integrator {mujoco.mjtIntegrator(opt.integrator).name.removeprefix('mjINT_')}")
    if opt.disableflags & ~flags or opt.enableflags or opt.disableactuator:
        refuse("option flags")
    if opt.density or opt.viscosity or np.any(opt.wind):
        refuse("a fluid around a mechanism that is no chain of capsules")
    if opt.cone != mujoco.mjtCone.mjCONE_PYRAMIDAL and model.ngeom and np.any(model.geom_contype):
        refuse("elliptic friction cones")
    if opt.noslip_iterations:
        refuse("noslip iterations")
    for field, what in absent.items():
        if getattr(model, field, 0):
            refuse(what)
    for field in ZERO:
        if np.any(getattr(model, field, 0)):
            refuse(f"non-zero {field}")


def _soft(model: mujoco.MjModel, solref: Sequence[float], solimp: Sequence[float]) -> Soft:
    stiffness, damping, (start, end, width, midpoint, power) = spring(model.opt.timestep, solref, solimp)
    return Soft(stiffness, damping, (start, end, max(width, MINVAL), midpoint, power))


def read_limit(model: mujoco.MjModel, j: int) -> Limit | None:
    """The range of joint `j`, less its margins."""
    if not model.jnt_limited[j]:
        return None
    margin = float(model.jnt_margin[j])
    low, high = float(model.jnt_range[j][0]) + margin, float(model.jnt_range[j][1]) - margin
    if low > high:
        refuse(f"the limits of {name_of(model, 'joint', j)}, which can both be exceeded at once")
    soft = _soft(model, model.jnt_solref[j], model.jnt_solimp[j])
    return Limit(low, high, soft, float(model.dof_invweight0[model.jnt_dofadr[j]]))


def read_motor(model: mujoco.MjModel, a: int) -> Motor:
    """Actuator `a`."""
    if (
        model.actuator_trntype[a] != mujoco.mjtTrn.mjTRN_JOINT
        or model.actuator_gaintype[a]
        or model.actuator_biastype[a]
    ):
        refuse("actuators other than motors on joints")
    low, high = model.actuator_ctrlrange[a] if model.actuator_ctrllimited[a] else (-np.inf, np.inf)
    gear = float(model.actuator_gear[a, 0] * model.actuator_gainprm[a, 0])
    return Motor(int(model.jnt_dofadr[model.actuator_trnid[a, 0]]), gear, float(low), float(high))


def may_touch(model: mujoco.MjModel, one: int, two: int) -> bool:
    """Whether MuJoCo looks for contacts of this pair."""
    if not (
        model.geom_contype[one] & model.geom_conaffinity[two] or model.geom_contype[two] & model.geom_conaffinity[one]
    ):
        return False
    weld = model.body_weldid
    first, second = (int(weld[model.geom_bodyid[g]]) for g in (one, two))
    if first == second:
        return False
    above = [int(weld[model.body_parentid[b]]) for b in (first, second)]
    if first and second and (above[0] == second or above[1] == first):  # the world is nobody's parent here
        return False
    pair = (min(first, second) << 16) + max(first, second)
    return pair not in {int(signature) for signature in model.exclude_signature}


def read_pair(model: mujoco.MjModel, one: int, other: int) -> tuple[float, float, float, Soft]:
    """Friction, weight of the normal, approximate inverse inertia and spring of a contact of two geoms."""
    if np.any(model.geom_gap[[one, other]]):
        refuse("contacts with a gap")
    priority = model.geom_priority[[one, other]]
    if priority[0] != priority[1]:
        chosen = (one, other)[int(priority[1] > priority[0])]
        condim, mu = int(model.geom_condim[chosen]), float(model.geom_friction[chosen, 0])
        solref, solimp = model.geom_solref[chosen], model.geom_solimp[chosen]
    else:
        condim = int(max(model.geom_condim[[one, other]]))
        mu = float(max(model.geom_friction[[one, other], 0]))
        mix = model.geom_solmix[[one, other]]
        share = mix[0] / mix.sum() if mix.sum() >= MINVAL else 0.5
        a, b = model.geom_solref[one], model.geom_solref[other]
        solref = share * a + (1 - share) * b if a[0] > 0 and b[0] > 0 else np.minimum(a, b)
        solimp = share * model.geom_solimp[one] + (1 - share) * model.geom_solimp[other]
    soft = _soft(model, solref, solimp)
    inverse = float(model.body_invweight0[model.geom_bodyid[[one, other]], 0].sum())
    if condim == 1:
        return 0.0, 1.0, inverse, soft
    if condim != 3:
        refuse(f"contacts of condim {condim}")
    mu = max(mu, mujoco.mjMINMU)
    return mu, 2.0, inverse * (1 + mu * mu) * 2 * mu * mu / float(model.opt.impratio), soft
