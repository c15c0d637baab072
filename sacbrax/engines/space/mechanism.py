"""The numbers of a tree in space, read from an `MjModel`, and what is refused because the equations do not cover it.

A node is a hinge or a slide; a body hangs on its last one, or on that of the body before it where it has none of its
own. Nodes of the same depth and kind are computed together, as a group. The frame of a node is where its joint is, with
the joint's axis as z and, where there is one, the direction of what hangs on it as x: so legs that are alike have the
same numbers, and many of them are zero. A free joint makes the first body the root, whose frame is its own; else the
world is the root.
"""

import dataclasses
from typing import Any

import mujoco
import numpy as np

from sacbrax.engines.engine import refuse
from sacbrax.engines.reading import (
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

ROOT = -1  # as a parent: the floating body, or the world
Vector = Any  # np.ndarray [3]
SAME = 1e-12  # relative: principal inertias that are equal


@dataclasses.dataclass(frozen=True)
class Rigid:
    """Bodies that move as one, in the frame of what carries them."""

    mass: float
    centre: Vector
    least: float  # the principal inertia that counts in all directions
    more: tuple[tuple[float, Vector], ...]  # what some directions have beyond it


@dataclasses.dataclass(frozen=True)
class Node:
    """A joint of one degree of freedom."""

    slide: bool
    parent: int  # node, or ROOT
    rotation: Any  # np.ndarray [3, 3], of its frame in its parent's
    place: Vector  # of its frame in its parent's
    dof: int  # where MuJoCo has its velocity
    position: int  # where MuJoCo has its position
    at_zero: float  # qpos0
    armature: float
    damping: float
    stiffness: float
    spring: float  # where the spring is at rest
    limit: Limit | None
    body: Rigid


@dataclasses.dataclass(frozen=True)
class Contact:
    """One end of a capsule, or a sphere, that may touch the floor."""

    node: int
    body: int  # MuJoCo's
    place: Vector  # in the node's frame
    axis: Vector | None  # of a capsule, in the node's frame
    radius: float
    floor: float  # the floor's height
    margin: float
    friction: float  # 0 without
    diagonal: float  # the constraint's approximate inverse inertia
    soft: Soft


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """All that the dynamics need of a model."""

    timestep: float
    integrator: str  # Euler or RK4
    gravity: Vector
    root: Rigid | None  # None where the world is the root
    nodes: tuple[Node, ...]
    groups: tuple[range, ...]  # nodes that are computed together; those that carry them come before
    contacts: tuple[Contact, ...]  # group by group, in rounds with one of each of their nodes
    motors: tuple[Motor, ...]  # by MuJoCo's dofs
    places: tuple[tuple[int, Vector], ...]  # of the bodies' frames: node and place in its frame
    bodies: int
    mass: float  # of all that moves


def read_mechanism(model: mujoco.MjModel) -> Mechanism:
    """Of a model in space. Raises `ValueError` with one line for what the equations do not cover."""
    check_options(model)
    data = mujoco.MjData(model)
    data.qpos[:] = model.qpos0
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    joints, carrier, free = _joints(model)
    order, groups = _groups(model, joints)
    number = {j: i for i, j in enumerate(order)} | {ROOT: ROOT}
    frames = _frames(model, data, order, carrier, free)

    def local(node: int, point: Any) -> Vector:
        rotation, origin = frames[node]
        return _round(rotation.T @ (point - origin))

    carried: dict[int, list[int]] = {i: [] for i in range(ROOT, len(order))}
    for b in range(1, model.nbody):
        carried[number[carrier[b]]].append(b)
    nodes = []
    for i, j in enumerate(order):
        parent, (rotation, origin) = number[joints[j]], frames[i]
        dof, at = int(model.jnt_dofadr[j]), int(model.jnt_qposadr[j])
        nodes.append(
            Node(
                slide=bool(model.jnt_type[j] == mujoco.mjtJoint.mjJNT_SLIDE),
                parent=parent,
                rotation=_round(frames[parent][0].T @ rotation),
                place=local(parent, origin),
                dof=dof,
                position=at,
                at_zero=float(model.qpos0[at]),
                armature=float(model.dof_armature[dof]),
                damping=float(model.dof_damping[dof]),
                stiffness=float(model.jnt_stiffness[j]),
                spring=float(model.qpos_spring[at]),
                limit=read_limit(model, j),
                body=_rigid(model, data, carried[i], *frames[i]),
            )
        )
    contacts = _contacts(model, data, {b: number[carrier[b]] for b in range(1, model.nbody)}, frames)
    motors = tuple(read_motor(model, a) for a in range(model.nu))
    if free and any(motor.dof < 6 for motor in motors):
        refuse("motors on a free joint")
    return Mechanism(
        timestep=float(model.opt.timestep),
        integrator={0: "Euler", 1: "RK4"}[int(model.opt.integrator)],
        gravity=np.array(model.opt.gravity),
        root=_rigid(model, data, carried[ROOT], *frames[ROOT]) if free else None,
        nodes=tuple(nodes),
        groups=groups,
        contacts=_in_rounds(contacts, groups),
        motors=motors,
        places=tuple((number[carrier[b]], local(number[carrier[b]], data.xpos[b])) for b in range(model.nbody)),
        bodies=int(model.nbody),
        mass=float(sum(model.body_mass[b] for b in range(1, model.nbody) if free or carrier[b] != ROOT)),
    )


def _joints(model: mujoco.MjModel) -> tuple[dict[int, int], list[int], bool]:
    """Hinges and slides, each with that before it, or ROOT; the last of them on the way to each body; and whether the
    first body floats."""
    free = bool(model.njnt and model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE and model.jnt_bodyid[0] == 1)
    if free and np.any(model.body_rootid[1:] != 1):
        refuse("bodies beside the floating one")
    if free and (np.any(model.dof_armature[:6]) or np.any(model.dof_damping[:6]) or model.jnt_stiffness[0]):
        refuse("armature, damping or a spring of a free joint")
    joints: dict[int, int] = {}
    carrier = [ROOT] * model.nbody
    for b in range(1, model.nbody):
        before = carrier[model.body_parentid[b]]
        for j in range(model.body_jntadr[b], model.body_jntadr[b] + model.body_jntnum[b]):
            if free and j == 0:
                continue
            if model.jnt_type[j] < int(mujoco.mjtJoint.mjJNT_SLIDE):
                kind = mujoco.mjtJoint(model.jnt_type[j]).name.removeprefix("mjJNT_").lower()
                refuse(f"the {kind} joint {name_of(model, 'joint', j)}")
            joints[j] = before
            before = j
        carrier[b] = before
    if not free and not joints:
        refuse("a model without joints")
    return joints, carrier, free


def _groups(model: mujoco.MjModel, joints: dict[int, int]) -> tuple[list[int], tuple[range, ...]]:
    """Joints in the order of the nodes, and those of the same depth and kind."""
    depth: dict[int, int] = {ROOT: 0}
    for j, before in joints.items():
        depth[j] = depth[before] + 1
    kinds: dict[tuple[int, int], list[int]] = {}
    for j in joints:
        kinds.setdefault((depth[j], int(model.jnt_type[j])), []).append(j)
    order: list[int] = []
    groups: list[range] = []
    for kind in sorted(kinds):
        groups.append(range(len(order), len(order) + len(kinds[kind])))
        order += kinds[kind]
    return order, tuple(groups)


def _frames(
    model: mujoco.MjModel, data: mujoco.MjData, order: list[int], carrier: list[int], free: bool
) -> dict[int, tuple[Any, Vector]]:
    """Rotation and origin in the world of the root and of every node, as the model is built."""
    frames = {ROOT: (data.xmat[1].reshape(3, 3).copy(), data.xpos[1].copy()) if free else (np.eye(3), np.zeros(3))}
    for i, j in enumerate(order):
        z, origin = data.xaxis[j] / np.linalg.norm(data.xaxis[j]), data.xanchor[j].copy()
        own = [b for b in range(1, model.nbody) if carrier[b] == j]
        away = sum((model.body_mass[b] * (data.xipos[b] - origin) for b in own), np.zeros(3))
        away = away - z * (z @ away)
        if np.linalg.norm(away) < 1e-6 * max(model.body_mass[own].sum(), 1e-9):
            away = np.eye(3)[np.argmin(np.abs(z))]
            away = away - z * (z @ away)
        x = away / np.linalg.norm(away)
        frames[i] = (np.stack([x, np.cross(z, x), z], axis=1), origin)
    return frames


def _rigid(model: mujoco.MjModel, data: mujoco.MjData, bodies: list[int], rotation: Any, origin: Vector) -> Rigid:
    mass = float(sum(model.body_mass[b] for b in bodies))
    if not bodies or mass == 0:
        return Rigid(0.0, np.zeros(3), 0.0, ())
    places = {b: rotation.T @ (data.xipos[b] - origin) for b in bodies}
    centre = sum(model.body_mass[b] * places[b] for b in bodies) / mass
    about = np.zeros((3, 3))
    for b in bodies:
        turned = rotation.T @ data.ximat[b].reshape(3, 3)
        apart = places[b] - centre
        about += turned @ np.diag(model.body_inertia[b]) @ turned.T
        about += model.body_mass[b] * (apart @ apart * np.eye(3) - np.outer(apart, apart))
    least, more = _principal(about)
    return Rigid(mass, _round(centre), least, more)


def _principal(about: Any) -> tuple[float, tuple[tuple[float, Vector], ...]]:
    """An inertia as one in all directions and more in at most two, of which fewest where two of the three are equal."""
    values, vectors = np.linalg.eigh(about)
    low, middle, high = values
    same = SAME * max(high, 1e-300)
    base = high if high - middle <= same else middle if middle - low <= same else low
    more = [(float(value - base), _round(vectors[:, k])) for k, value in enumerate(values) if abs(value - base) > same]
    return float(base), tuple(more)


def _round(x: Any) -> Any:
    """Without the dust of the trigonometry, so that zeros are zeros and ones are ones."""
    return np.round(x, 14) + 0.0


def _contacts(model: mujoco.MjModel, data: mujoco.MjData, carrier: dict[int, int], frames: Any) -> list[Contact]:
    """The ends that may touch the floor. Raises for any other contact."""
    contacts: list[Contact] = []
    for one in range(model.ngeom):
        for two in range(one + 1, model.ngeom):
            if not may_touch(model, one, two):
                continue
            floors = [g for g in (one, two) if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE]
            if len(floors) != 1:
                names = (name_of(model, "geom", geom) for geom in (one, two))
                refuse(f"contacts of {' and '.join(names)}, neither of which is the floor")
            (floor,) = floors
            if model.geom_bodyid[floor] or not np.isclose(data.geom_xmat[floor].reshape(3, 3)[2, 2], 1.0):
                refuse(f"the floor {name_of(model, 'geom', floor)}, which is not level")
            mu, _, diagonal, soft = read_pair(model, one, two)
            geom = two if floor == one else one
            capsule = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
            if not capsule and model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_SPHERE:
                refuse(f"contacts of {name_of(model, 'geom', geom)}, which is no capsule or sphere")
            body = int(model.geom_bodyid[geom])
            rotation, origin = frames[carrier[body]]
            axis = _round(rotation.T @ data.geom_xmat[geom].reshape(3, 3)[:, 2])
            for sign in (1, -1) if capsule else (0,):
                end = rotation.T @ (data.geom_xpos[geom] - origin) + sign * model.geom_size[geom, 1] * axis
                contacts.append(
                    Contact(
                        node=carrier[body],
                        body=body,
                        place=_round(end),
                        axis=axis if capsule else None,
                        radius=float(model.geom_size[geom, 0]),
                        floor=float(data.geom_xpos[floor][2]),
                        margin=float(model.geom_margin[one] + model.geom_margin[two]),
                        friction=mu,
                        diagonal=diagonal,
                        soft=soft,
                    )
                )
    return contacts


def _in_rounds(contacts: list[Contact], groups: tuple[range, ...]) -> tuple[Contact, ...]:
    """So that those of legs that are alike stand beside each other."""
    seen: dict[int, int] = {}
    keys = []
    for contact in contacts:
        group = next((g for g, nodes in enumerate(groups) if contact.node in nodes), ROOT)
        keys.append((group, seen.get(contact.node, 0), contact.node))
        seen[contact.node] = seen.get(contact.node, 0) + 1
    return tuple(contacts[i] for i in sorted(range(len(contacts)), key=lambda i: keys[i]))
