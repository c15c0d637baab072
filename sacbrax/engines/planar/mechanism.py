"""The numbers of a planar mechanism, read from an `MjModel`, and what is refused because the equations do not cover it.

The plane is spanned by u and v, so chosen that a positive turn takes v towards u: (x, z) for hinges about y, (y, x)
about z, (z, y) about x. Everything across the plane is without effect and must be so by construction.
"""

import dataclasses
from typing import Any

import mujoco
import numpy as np

from sacbrax.engines.engine import refuse
from sacbrax.engines.reading import (
    ABSENT,
    Limit,
    Motor,
    Soft,
    check_options,
    may_touch,
    name_of,
    read_limit,
    read_motor,
    read_pair,
)

FREE = int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)  # neither contacts nor limits
NO_CONTACTS = int(mujoco.mjtDisableBit.mjDSBL_CONTACT) | FREE
NO_IMPLICIT_DAMPING = int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
PLANE = {0: (2, 1), 1: (0, 2), 2: (1, 0)}  # axis of the hinges: u and v
Point = tuple[float, float]


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
    implicit: bool  # whether damping is, as it is in Euler's steps if the model does not say otherwise
    gravity: Point
    dofs: tuple[Dof, ...]
    bodies: tuple[Body, ...]  # bodies[0] is the world
    contacts: tuple[Contact, ...]
    pairs: tuple[Pair, ...]
    motors: tuple[Motor, ...]
    depths: tuple[float, ...]  # of the bodies' frames across the plane
    sites: tuple[Site, ...]

    def carriers(self, dof: int) -> list[int]:
        """A joint and those that carry it; none of the world, -1."""
        found = []
        while dof >= 0:
            found.append(dof)
            dof = self.dofs[dof].parent
        return found


def moves_in_a_plane(model: mujoco.MjModel) -> bool:
    """Whether all joints are slides and hinges, and all hinges parallel to one of the world's axes."""
    data = mujoco.MjData(model)
    data.qpos[:] = model.qpos0
    mujoco.mj_kinematics(model, data)
    hinges = np.abs(data.xaxis[model.jnt_type == int(mujoco.mjtJoint.mjJNT_HINGE)])
    others = model.jnt_type < int(mujoco.mjtJoint.mjJNT_SLIDE)
    return bool(not np.any(others) and len(hinges) and np.isclose(hinges.min(axis=0).max(), 1.0, atol=1e-9))


def read_mechanism(model: mujoco.MjModel, placed_bodies: bool = False) -> Mechanism:
    """Of a model whose bodies move in one plane. Raises `ValueError` with one line for anything else.

    placed_bodies: mocap bodies are allowed where there are no contacts. They are where the model has them; who asks for
    their places must know better.
    """
    ignored = {"nmocap"} if placed_bodies and model.opt.disableflags & NO_CONTACTS else set()
    absent = {field: what for field, what in ABSENT.items() if field not in ignored}
    check_options(model, NO_CONTACTS | NO_IMPLICIT_DAMPING, absent)
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
                refuse(f"the joint {name_of(model, 'joint', j)}, which is neither a slide nor a hinge")
            direction = model.jnt_axis[j]  # in the body's frame
            world = upright @ direction
            if slide and abs(world[axis]) > 1e-9:
                refuse(f"the slide {name_of(model, 'joint', j)} across the plane")
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
                    limit=None if model.opt.disableflags & FREE else read_limit(model, j),
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
    contacts, pairs = ([], []) if model.opt.disableflags & NO_CONTACTS else _contacts(model, data, axis)
    sites = []
    for s, b in enumerate(model.site_bodyid):
        place = _round(_turn(flat(data.site_xpos[s] - data.xpos[b]), -angle(data.xmat[b])))
        sites.append(Site(int(b), place, float(data.site_xpos[s][axis])))
    return Mechanism(
        plane=(u, v),
        timestep=float(model.opt.timestep),
        integrator={0: "Euler", 1: "RK4"}[int(model.opt.integrator)],
        implicit=not model.opt.integrator and not model.opt.disableflags & NO_IMPLICIT_DAMPING,
        gravity=flat(model.opt.gravity),
        dofs=tuple(dofs),
        bodies=tuple(bodies),
        contacts=tuple(sorted(contacts, key=lambda contact: contact.body)),
        pairs=tuple(pairs),
        motors=tuple(read_motor(model, a) for a in range(model.nu)),
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
            refuse(f"the hinge {name_of(model, 'joint', j)}, which does not turn in the plane of the others")
    return axis, [float(np.sign(data.xaxis[j][axis])) for j in range(model.njnt)]


def _contacts(model: mujoco.MjModel, data: mujoco.MjData, axis: int) -> tuple[list[Contact], list[Pair]]:
    """The ends that may touch the floor, and the pairs that may touch each other. Raises for what is neither."""
    contacts: list[Contact] = []
    pairs: list[Pair] = []
    for one in range(model.ngeom):
        for two in range(one + 1, model.ngeom):
            if not may_touch(model, one, two):
                continue
            margin = float(model.geom_margin[one] + model.geom_margin[two])
            mu, weight, diagonal, soft = read_pair(model, one, two)
            floors = [g for g in (one, two) if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE]
            if not floors:
                sides = _segment(model, data, axis, one), _segment(model, data, axis, two)
                if not np.isclose(data.geom_xpos[one][axis], data.geom_xpos[two][axis], atol=1e-9):
                    refuse(
                        f"contacts of {name_of(model, 'geom', one)} and {name_of(model, 'geom', two)} across the plane"
                    )
                pairs.append(Pair(*sides, margin, mu, diagonal, soft))
                continue
            (floor,) = floors
            if model.geom_bodyid[floor] or not np.isclose(data.geom_xmat[floor].reshape(3, 3)[PLANE[axis][1], 2], 1.0):
                refuse(f"the floor {name_of(model, 'geom', floor)}, which is not level")
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
        refuse(f"contacts of {name_of(model, 'geom', geom)}, which is no capsule or sphere")
    if abs(half[axis]) > 1e-9:
        refuse(f"the capsule {name_of(model, 'geom', geom)}, which does not lie in the plane")
    b = int(model.geom_bodyid[geom])
    matrix = data.xmat[b].reshape(3, 3)
    turned = float(np.arctan2(matrix[u, v], matrix[v, v]))
    centre = data.geom_xpos[geom] - data.xpos[b]
    flat = [_round(_turn((float(x[u]), float(x[v])), -turned)) for x in (centre, half)]
    return Segment(b, flat[0], flat[1], float(model.geom_size[geom, 0]))
