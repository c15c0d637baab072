"""A planar swimmer read out of a compiled MjModel as plain numbers, or refused with the feature that is not covered.

The mechanism: a torso that slides along x and y and turns about z, then links hinged about z, joints and centres of
mass on each link's own x axis, no contacts, MuJoCo's inertia-box fluid, soft joint limits, motors on hinges.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np

from sacbrax.engines.engine import refuse
from sacbrax.engines.solver_parameters import MINVAL, Impedance, spring

ABSENT = ("neq", "ntendon", "nflex", "npair", "nmocap", "nplugin", "na", "ngravcomp", "nhistory", "nplastic")
ABSENT_NAMES = {"neq": "equality constraints", "na": "actuators with activation", "npair": "contact pairs"}
ZERO = (
    "jnt_stiffness", "jnt_stiffnesspoly", "jnt_margin", "jnt_actfrclimited", "jnt_pos", "dof_frictionloss",
    "dof_dampingpoly", "actuator_forcelimited", "actuator_damping", "actuator_dampingpoly", "actuator_armature",
    "actuator_delay", "actuator_biastype", "actuator_dyntype", "geom_fluid", "body_gravcomp", "qpos0",
)  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """A soft joint limit: impedance d(distance), reference acceleration -b * rate - k * d * distance."""

    hinge: int  # index among the hinges, the torso's heading being 0
    low: float  # rad
    high: float  # rad
    stiffness: float  # k, 1/s^2
    damping: float  # b, 1/s
    impedance: Impedance  # its width in rad
    invweight: float  # 1/(kg m^2): regularization is (1 - d) / d * invweight


@dataclass(frozen=True)
class Chain:
    """Numbers of one planar swimmer; tuples have one entry per link or hinge, torso first. SI units."""

    timestep: float
    integrator: str  # "Euler" or "RK4"
    mass: tuple[float, ...]  # kg
    inertia: tuple[float, ...]  # about z through the link's centre, kg m^2
    centre: tuple[float, ...]  # along the link from its hinge to its centre of mass, m
    length: tuple[float, ...]  # along the link from its hinge to the next link's hinge, m; the last is 0
    slide_armature: float  # kg
    slide_damping: float  # N s/m
    armature: tuple[float, ...]  # of the hinges, kg m^2
    damping: tuple[float, ...]  # of the hinges, N m s
    drag_along: tuple[tuple[float, float], ...]  # force along the link = -(linear + quadratic |u|) u
    drag_across: tuple[tuple[float, float], ...]
    drag_turn: tuple[tuple[float, float], ...]
    motors: tuple[tuple[int, float, float, float], ...]  # hinge, gear, lowest and highest control
    limits: tuple[Limit, ...]

    @property
    def links(self) -> int:
        """Links of the chain, the torso included."""
        return len(self.mass)


def read_chain(model: mujoco.MjModel) -> Chain:
    """The numbers of `model`; ValueError names the first feature that a planar swimmer does not have."""
    _check(model)
    n = model.nbody - 1
    mass, opt = model.body_mass[1:], model.opt
    inertia, along, across, turn = zip(*(_link(model, b) for b in range(1, n + 1)), strict=True)
    return Chain(
        timestep=float(opt.timestep),
        integrator={0: "Euler", 1: "RK4"}[int(opt.integrator)],
        mass=_floats(mass),
        inertia=inertia,
        centre=_floats(model.body_ipos[1:, 0]),
        length=(*_floats(model.body_pos[2:, 0]), 0.0),
        slide_armature=float(model.dof_armature[0]),
        slide_damping=float(model.dof_damping[0]),
        armature=_floats(model.dof_armature[2:]),
        damping=_floats(model.dof_damping[2:]),
        drag_along=along,
        drag_across=across,
        drag_turn=turn,
        motors=tuple(_motor(model, i) for i in range(model.nu)),
        limits=tuple(_limit(model, j) for j in range(model.njnt) if model.jnt_limited[j]),
    )


def scaled(chain: Chain, density: Any, viscosity: Any, *gear: Any) -> Chain:
    """`chain` in another fluid and with other motors, given as factors: numbers, or rows of one per environment."""

    def fluid(drag: tuple[tuple[float, float], ...]) -> Any:
        return tuple((linear * viscosity, quadratic * density) for linear, quadratic in drag)

    return replace(
        chain,
        drag_along=fluid(chain.drag_along),
        drag_across=fluid(chain.drag_across),
        drag_turn=fluid(chain.drag_turn),
        motors=tuple((hinge, own * g, lo, hi) for (hinge, own, lo, hi), g in zip(chain.motors, gear, strict=True)),
    )


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _check(model: mujoco.MjModel) -> None:
    opt, n = model.opt, model.nbody - 1
    joint, hinge, slide = mujoco.mjtJoint, int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
    if int(opt.integrator) not in (0, 1):
        refuse(f"the integrator {mujoco.mjtIntegrator(opt.integrator).name.removeprefix('mjINT_')}")
    if opt.disableflags or opt.enableflags or opt.disableactuator:
        refuse("option flags")
    if np.any(opt.gravity[:2]) or np.any(opt.wind):
        refuse("gravity in the plane or wind")
    for name in ABSENT:
        if getattr(model, name, 0):
            refuse(ABSENT_NAMES.get(name, f"{name} > 0"))
    for name in ZERO:
        if np.any(getattr(model, name, 0)):
            refuse(f"non-zero {name}")
    if np.any(model.geom_contype[:, None] & model.geom_conaffinity[None, :]):
        refuse("contacts (geoms whose contype and conaffinity match)")
    if n < 2 or model.njnt != n + 2 or list(model.jnt_type) != [slide, slide] + [hinge] * n:
        types = [joint(kind).name.removeprefix("mjJNT_").lower() for kind in model.jnt_type]
        refuse(f"the joints {' '.join(types)}: a planar swimmer has two slides and one hinge per link")
    if list(model.jnt_bodyid) != [1, 1, *range(1, n + 1)] or list(model.body_parentid[1:]) != list(range(n)):
        refuse("bodies that are not one chain with a hinge per link")
    if not np.array_equal(model.jnt_axis, [[1, 0, 0], [0, 1, 0]] + [[0, 0, 1]] * n):
        refuse("joint axes other than x, y and z")
    if np.any(model.body_quat[1:] != [1, 0, 0, 0]) or np.any(model.body_pos[2:, 1:]) or np.any(model.body_ipos[1:, 1:]):
        refuse("joints or centres of mass off the link's own x axis")
    if model.dof_armature[0] != model.dof_armature[1] or model.dof_damping[0] != model.dof_damping[1]:
        refuse("slides that differ in armature or damping")
    if opt.integrator == 0 and np.any(model.dof_damping):
        refuse("joint damping under the Euler integrator")
    if np.any(model.jnt_limited[:3]):
        refuse("limits on the slides or the torso's hinge")


def _link(model: mujoco.MjModel, body: int) -> tuple[float, Any, Any, Any]:
    """Inertia about z and the (linear, quadratic) drag coefficients of a body, from its equivalent-inertia box."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    to_axis = np.abs(rotation.reshape(3, 3))  # [frame axis, principal axis]
    if not np.allclose(np.sort(to_axis, axis=1), [0, 0, 1]):
        refuse("links whose principal axes of inertia are not along x, y and z")
    principal = model.body_inertia[body]
    box = np.sqrt(np.maximum(MINVAL, principal.sum() - 2 * principal) / model.body_mass[body] * 6)  # full sizes, m
    x, y, z = to_axis @ box
    diameter, mu, rho = (x + y + z) / 3, model.opt.viscosity, model.opt.density
    linear = 3 * math.pi * diameter * mu
    return (
        float((to_axis @ principal)[2]),
        (float(linear), float(rho / 2 * y * z)),
        (float(linear), float(rho / 2 * x * z)),
        (float(math.pi * diameter**3 * mu), float(rho * z * (x**4 + y**4) / 64)),
    )


def _motor(model: mujoco.MjModel, i: int) -> tuple[int, float, float, float]:
    joint = int(model.actuator_trnid[i, 0])
    if model.actuator_trntype[i] != mujoco.mjtTrn.mjTRN_JOINT or model.actuator_gaintype[i] != 0 or joint < 2:
        refuse("actuators other than motors on hinges")
    low, high = model.actuator_ctrlrange[i] if model.actuator_ctrllimited[i] else (-math.inf, math.inf)
    gear = model.actuator_gear[i, 0] * model.actuator_gainprm[i, 0]
    return joint - 2, float(gear), float(low), float(high)


def _limit(model: mujoco.MjModel, joint: int) -> Limit:
    solref, solimp = model.jnt_solref[joint], model.jnt_solimp[joint]
    stiffness, damping, impedance = spring(model.opt.timestep, solref, solimp, of=f" of joint {joint}")
    low, high = model.jnt_range[joint]
    return Limit(
        hinge=joint - 2,
        low=float(low),
        high=float(high),
        stiffness=stiffness,
        damping=damping,
        impedance=impedance,
        invweight=float(model.dof_invweight0[joint]),
    )
