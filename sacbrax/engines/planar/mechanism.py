"""The numbers of a planar mechanism, read from an `MjModel`, and what is refused because the equations do not cover it.

The plane is spanned by u and v, so chosen that a positive turn takes v towards u: (x, z) for hinges about y, (y, x)
about z, (z, y) about x. Everything across the plane is without effect and must be so by construction.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from sacbrax.engines.engine import refuse
from sacbrax.engines.solver_parameters import MINVAL, Impedance, spring

PLANE = {0: (2, 1), 1: (0, 2), 2: (1, 0)}  # axis of the hinges: u and v
Point = tuple[float, float]


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
class Dof:
    """One joint."""

    body: int
    parent: int  # the dof that carries it; -1 is the world
    slide: bool
    axis: Point  # of a slide, in the frame of the body before this joint; (turn, 0) of a hinge, turn = 1 or -1
    anchor: Point  # of a hinge, in the body's frame
    at_zero: float  # qpos0
    armature: float
    damping: float
    stiffness: float
    spring: float  # where the spring is at rest
    limit: Limit | None


@dataclasses.dataclass(frozen=True)
class Body:
    """One rigid body. `dof` is the joint that carries it, -1 if it does not move."""

    parent: int
    dof: int
    dofs: tuple[int, ...]  # its own, in their order
    place: Point  # of its frame in its parent's
    angle: float  # of its frame in its parent's
    mass: float
    inertia: float
    centre: Point


@dataclasses.dataclass(frozen=True)
class Contact:
    """One end of a capsule, or a sphere, that may touch the floor."""

    body: int
    place: Point  # in the body's frame
    radius: float
    floor: float  # the floor's height along v
    margin: float
    friction: float  # 0 without
    weight: float  # edges of the friction pyramid that are the normal itself: 2, or 1 without friction
    diagonal: float  # the constraint's approximate inverse inertia
    soft: Soft


@dataclasses.dataclass(frozen=True)
class Segment:
    """A capsule, or a sphere, whose half is no length."""

    body: int
    centre: Point  # in the body's frame
    half: Point  # from there to one end of the axis
    radius: float


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two segments of different bodies that may touch; the names mean what they do in `Contact`."""

    one: Segment
    two: Segment
    margin: float
    friction: float
    diagonal: float
    soft: Soft


@dataclasses.dataclass(frozen=True)
class Motor:
    """A motor on a joint: force gear * clip(ctrl)."""

    dof: int
    gear: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Site:
    """A point that tasks ask for."""

    body: int
    place: Point  # in the body's frame
    depth: float  # across the plane


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """All that the dynamics need of a model, and what tells its places in space."""

    plane: tuple[int, int]  # which of x, y, z are u and v
    timestep: float
    integrator: str  # Euler or RK4
    gravity: Point
    dofs: tuple[Dof, ...]
    bodies: tuple[Body, ...]  # bodies[0] is the world
    contacts: tuple[Contact, ...]
    pairs: tuple[Pair, ...]
    motors: tuple[Motor, ...]
    depths: tuple[float, ...]  # of the bodies' frames across the plane
    sites: tuple[Site, ...]


def read_mechanism(model: mujoco.MjModel) -> Mechanism:
    """Of a model whose bodies move in one plane. Raises `ValueError` with one line for anything else."""
    _check_options(model)
    axis, sign = _hinge_axis(model)
    u, v = PLANE[axis]
    data = mujoco.MjData(model)
    data.qpos[:] = model.qpos0
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)

    def flat(vector: Any) -> Point:
        return float(vector[u]), float(vector[v])

    def angle(matrix: Any) -> float:
        """By which a frame is turned in the plane; it must be turned by nothing else."""
        matrix = np.reshape(matrix, (3, 3))
        if not np.allclose(matrix[axis, axis], 1.0, atol=1e-9):
            refuse("bodies turned out of the plane")
        return float(np.arctan2(matrix[u, v], matrix[v, v]))

    last = [-1] * model.nbody
    dofs: list[Dof] = []
    bodies = [Body(-1, -1, (), (0.0, 0.0), 0.0, 0.0, 0.0, (0.0, 0.0))]
    for b in range(1, model.nbody):
        parent = int(model.body_parentid[b])
        carrier, own = last[parent], []
        upright = data.xmat[b].reshape(3, 3)
        turned = angle(upright)
        for j in range(model.body_jntadr[b], model.body_jntadr[b] + model.body_jntnum[b]):
            i = int(model.jnt_dofadr[j])
            slide = model.jnt_type[j] == mujoco.mjtJoint.mjJNT_SLIDE
            if not slide and model.jnt_type[j] != mujoco.mjtJoint.mjJNT_HINGE:
                refuse(f"the joint {_name(model, 'joint', j)}, which is neither a slide nor a hinge")
            direction = model.jnt_axis[j]  # in the body's frame
            world = upright @ direction
            if slide and abs(world[axis]) > 1e-9:
                refuse(f"the slide {_name(model, 'joint', j)} across the plane")
            dofs.append(
                Dof(
                    body=b,
                    parent=carrier,
                    slide=bool(slide),
                    axis=_round(_turn(flat(world), -turned)) if slide else (float(sign[j]), 0.0),
                    anchor=(0.0, 0.0) if slide else _round(_turn(flat(data.xanchor[j] - data.xpos[b]), -turned)),
                    at_zero=float(model.qpos0[model.jnt_qposadr[j]]),
                    armature=float(model.dof_armature[i]),
                    damping=float(model.dof_damping[i]),
                    stiffness=float(model.jnt_stiffness[j]),
                    spring=float(model.qpos_spring[model.jnt_qposadr[j]]),
                    limit=_limit(model, j),
                )
            )
            carrier = i
            own.append(i)
        last[b] = carrier
        place, facing = data.xpos[b] - data.xpos[parent], angle(data.xmat[parent])
        rotation = data.ximat[b].reshape(3, 3)
        about = float((rotation @ np.diag(model.body_inertia[b]) @ rotation.T)[axis, axis])
        bodies.append(
            Body(
                parent=parent,
                dof=carrier,
                dofs=tuple(own),
                place=_round(_turn(flat(place), -facing)),
                angle=turned - facing if abs(turned - facing) > 1e-12 else 0.0,
                mass=float(model.body_mass[b]),
                inertia=about,
                centre=_round(_turn(flat(data.xipos[b] - data.xpos[b]), -turned)),
            )
        )
    contacts, pairs = _contacts(model, data, axis)
    sites = []
    for s, b in enumerate(model.site_bodyid):
        place = _round(_turn(flat(data.site_xpos[s] - data.xpos[b]), -angle(data.xmat[b])))
        sites.append(Site(int(b), place, float(data.site_xpos[s][axis])))
    return Mechanism(
        plane=(u, v),
        timestep=float(model.opt.timestep),
        integrator={0: "Euler", 1: "RK4"}[int(model.opt.integrator)],
        gravity=flat(model.opt.gravity),
        dofs=tuple(dofs),
        bodies=tuple(bodies),
        contacts=tuple(sorted(contacts, key=lambda contact: contact.body)),
        pairs=tuple(pairs),
        motors=tuple(_motor(model, a) for a in range(model.nu)),
        depths=tuple(float(x) for x in data.xpos[:, axis]),
        sites=tuple(sites),
    )


def _turn(point: Point, angle: float) -> Point:
    """A vector turned by `angle`, v towards u."""
    c, s = np.cos(angle), np.sin(angle)
    return float(c * point[0] + s * point[1]), float(c * point[1] - s * point[0])


def _round(point: Point) -> Point:
    """Without the dust of the trigonometry, so that zeros are zeros and ones are ones."""
    a, b = (float(np.round(x, 14)) + 0.0 for x in point)
    return a, b


def _name(model: mujoco.MjModel, kind: str, i: int) -> str:
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
}


def _check_options(model: mujoco.MjModel) -> None:
    opt = model.opt
    if int(opt.integrator) not in (0, 1):
        refuse(f"the integrator {mujoco.mjtIntegrator(opt.integrator).name.removeprefix('mjINT_')}")
    if opt.disableflags or opt.enableflags or opt.disableactuator:
        refuse("option flags")
    if opt.density or opt.viscosity or np.any(opt.wind):
        refuse("a fluid around a mechanism that is no chain of capsules")
    if opt.cone != mujoco.mjtCone.mjCONE_PYRAMIDAL and model.ngeom and np.any(model.geom_contype):
        refuse("elliptic friction cones")
    for field, what in ABSENT.items():
        if getattr(model, field, 0):
            refuse(what)
    for field in ("dof_frictionloss", "jnt_actgravcomp", "body_gravcomp", "jnt_actfrclimited", "actuator_forcelimited"):
        if np.any(getattr(model, field, 0)):
            refuse(f"non-zero {field}")


def _hinge_axis(model: mujoco.MjModel) -> tuple[int, list[float]]:
    """The direction across the plane, and of each joint whether it turns about it positively."""
    data = mujoco.MjData(model)
    data.qpos[:] = model.qpos0
    mujoco.mj_kinematics(model, data)
    hinge = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]
    if not hinge:
        refuse("a mechanism without hinges")
    axis = int(np.argmax(np.abs(data.xaxis[hinge[0]])))
    for j in hinge:
        if not np.isclose(abs(data.xaxis[j][axis]), 1.0, atol=1e-9):
            refuse(f"the hinge {_name(model, 'joint', j)}, which does not turn in the plane of the others")
    return axis, [float(np.sign(data.xaxis[j][axis])) for j in range(model.njnt)]


def _soft(model: mujoco.MjModel, solref: Sequence[float], solimp: Sequence[float]) -> Soft:
    stiffness, damping, (start, end, width, midpoint, power) = spring(model.opt.timestep, solref, solimp)
    return Soft(stiffness, damping, (start, end, max(width, MINVAL), midpoint, power))


def _limit(model: mujoco.MjModel, j: int) -> Limit | None:
    if not model.jnt_limited[j]:
        return None
    margin = float(model.jnt_margin[j])
    low, high = float(model.jnt_range[j][0]) + margin, float(model.jnt_range[j][1]) - margin
    if low > high:
        refuse(f"the limits of {_name(model, 'joint', j)}, which can both be exceeded at once")
    soft = _soft(model, model.jnt_solref[j], model.jnt_solimp[j])
    return Limit(low, high, soft, float(model.dof_invweight0[model.jnt_dofadr[j]]))


def _motor(model: mujoco.MjModel, a: int) -> Motor:
    if (
        model.actuator_trntype[a] != mujoco.mjtTrn.mjTRN_JOINT
        or model.actuator_gaintype[a]
        or model.actuator_biastype[a]
    ):
        refuse("actuators other than motors on joints")
    low, high = model.actuator_ctrlrange[a] if model.actuator_ctrllimited[a] else (-np.inf, np.inf)
    gear = float(model.actuator_gear[a, 0] * model.actuator_gainprm[a, 0])
    return Motor(int(model.jnt_dofadr[model.actuator_trnid[a, 0]]), gear, float(low), float(high))


def _contacts(model: mujoco.MjModel, data: mujoco.MjData, axis: int) -> tuple[list[Contact], list[Pair]]:
    """The ends that may touch the floor, and the pairs that may touch each other. Raises for what is neither."""
    contacts: list[Contact] = []
    pairs: list[Pair] = []
    for one in range(model.ngeom):
        for two in range(one + 1, model.ngeom):
            if not _may_touch(model, one, two):
                continue
            margin = float(model.geom_margin[one] + model.geom_margin[two])
            mu, weight, diagonal, soft = _pair(model, one, two)
            floors = [g for g in (one, two) if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE]
            if not floors:
                sides = _segment(model, data, axis, one), _segment(model, data, axis, two)
                if not np.isclose(data.geom_xpos[one][axis], data.geom_xpos[two][axis], atol=1e-9):
                    refuse(f"contacts of {_name(model, 'geom', one)} and {_name(model, 'geom', two)} across the plane")
                pairs.append(Pair(*sides, margin, mu, diagonal, soft))
                continue
            (floor,) = floors
            if model.geom_bodyid[floor] or not np.isclose(data.geom_xmat[floor].reshape(3, 3)[PLANE[axis][1], 2], 1.0):
                refuse(f"the floor {_name(model, 'geom', floor)}, which is not level")
            segment = _segment(model, data, axis, two if floor == one else one)
            height = float(data.geom_xpos[floor][PLANE[axis][1]])
            for sign in (1, -1) if any(segment.half) else (0,):
                place = (segment.centre[0] + sign * segment.half[0], segment.centre[1] + sign * segment.half[1])
                own = (segment.body, _round(place), segment.radius, height, margin, mu, weight, diagonal, soft)
                contacts.append(Contact(*own))
    return contacts, pairs


def _segment(model: mujoco.MjModel, data: mujoco.MjData, axis: int, geom: int) -> Segment:
    u, v = PLANE[axis]
    half = np.zeros(3)
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE:
        half = data.geom_xmat[geom].reshape(3, 3)[:, 2] * model.geom_size[geom, 1]
    elif model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_SPHERE:
        refuse(f"contacts of {_name(model, 'geom', geom)}, which is no capsule or sphere")
    if abs(half[axis]) > 1e-9:
        refuse(f"the capsule {_name(model, 'geom', geom)}, which does not lie in the plane")
    b = int(model.geom_bodyid[geom])
    matrix = data.xmat[b].reshape(3, 3)
    turned = float(np.arctan2(matrix[u, v], matrix[v, v]))
    centre = data.geom_xpos[geom] - data.xpos[b]
    flat = [_round(_turn((float(x[u]), float(x[v])), -turned)) for x in (centre, half)]
    return Segment(b, flat[0], flat[1], float(model.geom_size[geom, 0]))


def _may_touch(model: mujoco.MjModel, one: int, two: int) -> bool:
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


def _pair(model: mujoco.MjModel, one: int, other: int) -> tuple[float, float, float, Soft]:
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
