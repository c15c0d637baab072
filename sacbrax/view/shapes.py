"""The geoms of a MuJoCo model as triangles and colours, few enough for a page. Knows models, no episodes."""

import dataclasses

import mujoco
import numpy as np

MOST_TRIANGLES = 40_000  # of all meshes together
FINEST, COARSEST, COARSER = 1 / 100, 1 / 3, 1.25  # cells on which a mesh loses detail: shares of its size, growth
SECTORS, ARC = 24, 6  # of a round shape: around, and from equator to pole
ENDLESS = 10.0  # m that a plane without end reaches each way
MOST_HEIGHTS = 96  # of a height field, along each side
VISIBLE_GROUPS = 3  # as in MuJoCo's own viewer: the others hold what collides
HEAD = (0.85, 0.24, 0.16)  # of a chain whose ends look alike
PLANE, HEIGHT_FIELD, ELLIPSOID, CAPSULE, CYLINDER, BOX, MESH, SDF = (
    getattr(mujoco.mjtGeom, f"mjGEOM_{name}").value
    for name in ("PLANE", "HFIELD", "ELLIPSOID", "CAPSULE", "CYLINDER", "BOX", "MESH", "SDF")
)


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Triangles, seen from outside counter-clockwise."""

    vertices: np.ndarray  # [V, 3] m
    faces: np.ndarray  # [F, 3] of V


@dataclasses.dataclass(frozen=True)
class Geom:
    """One drawn geom."""

    body: int
    mesh: Mesh
    position: np.ndarray  # [3] m, in the frame of its body
    quaternion: np.ndarray  # [4], w first
    colour: np.ndarray  # [4] red, green, blue, opacity


def solids(model: mujoco.MjModel) -> list[Geom]:
    """All to be drawn but for the ground, with at most about `MOST_TRIANGLES` in its meshes."""
    shown = [g for g in range(model.ngeom) if model.geom_group[g] < VISIBLE_GROUPS]
    if not any(model.geom_bodyid[g] for g in shown):
        shown = list(range(model.ngeom))  # a model that keeps all in groups which are hidden by default
    rgba = colours(model)
    shown = [g for g in shown if rgba[g, 3] > 0 and not _is_ground(model, g)]
    meshes = simplified([triangles(model, g) for g in shown])
    return [
        Geom(int(model.geom_bodyid[g]), mesh, model.geom_pos[g], model.geom_quat[g], rgba[g])
        for g, mesh in zip(shown, meshes, strict=True)
    ]


def ground(model: mujoco.MjModel) -> float | None:
    """The height [m] of the model's highest level plane, if it has one."""
    return max((float(model.geom_pos[g, 2]) for g in range(model.ngeom) if _is_ground(model, g)), default=None)


def _is_ground(model: mujoco.MjModel, g: int) -> bool:
    """Whether a geom is a level plane of the world."""
    upright = np.abs(model.geom_quat[g, 1:3]).max() < 1e-6
    return bool(model.geom_type[g] == PLANE and model.geom_bodyid[g] == 0 and upright)


def colours(model: mujoco.MjModel) -> np.ndarray:
    """[G, 4]: of the geom or its material; a texture counts as its mean. The head of a chain of one colour, such as the
    swimmer, has a colour of its own, for nothing else tells which end is in front."""
    rgba = np.array(model.geom_rgba)
    for g in np.flatnonzero(model.geom_matid >= 0):
        material = model.geom_matid[g]
        if np.all(rgba[g] == np.array([0.5, 0.5, 0.5, 1.0])):  # not set: the material's
            rgba[g] = model.mat_rgba[material]
        texture = model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB]
        if texture >= 0 and model.geom_type[g] in (MESH, HEIGHT_FIELD):
            rgba[g, :3] *= _mean_colour(model, texture)
    head = chain_head(model)
    if head is not None:
        rgba[model.geom_bodyid == head, :3] = HEAD
    return rgba


def chain_head(model: mujoco.MjModel) -> int | None:
    """The first body of a model that is one chain of at least three bodies alike; None of every other model."""
    parents = model.body_parentid[1:]
    moving = model.geom_bodyid > 0
    chain = len(parents) >= 3 and np.array_equal(parents, np.arange(len(parents)))
    alike = len(np.unique(model.geom_rgba[moving], axis=0)) == 1 and len(np.unique(model.geom_size[moving, 0])) == 1
    return 1 if chain and alike else None


def _mean_colour(model: mujoco.MjModel, texture: int) -> np.ndarray:
    channels, start = model.tex_nchannel[texture], model.tex_adr[texture]
    size = model.tex_height[texture] * model.tex_width[texture]
    pixels = model.tex_data[start : start + size * channels].reshape(size, channels)
    return pixels[:, :3].mean(axis=0) / 255.0 if channels >= 3 else np.full(3, pixels.mean() / 255.0)


def triangles(model: mujoco.MjModel, g: int) -> Mesh:
    """A geom in its own frame, in full detail."""
    kind, size = model.geom_type[g], model.geom_size[g]
    quarter = np.linspace(0, np.pi / 2, ARC + 1)
    if kind in (MESH, SDF):
        return _mesh(model, model.geom_dataid[g])
    if kind == HEIGHT_FIELD:
        return _height_field(model, model.geom_dataid[g])
    if kind == PLANE:  # a wall
        x, y = (half if half > 0 else ENDLESS for half in size[:2])
        return Mesh(np.array([[-x, -y, 0], [x, -y, 0], [x, y, 0], [-x, y, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    if kind == BOX:
        return _box(size)
    if kind == CYLINDER:
        return _lathe(np.array([0, size[0], size[0], 0]), np.array([-1, -1, 1, 1]) * size[1])
    if kind == CAPSULE:
        r, z = size[0] * np.cos(quarter), size[0] * np.sin(quarter) + size[1]
        return _lathe(np.concatenate([r[::-1], r]), np.concatenate([-z[::-1], z]))
    half = np.linspace(-np.pi / 2, np.pi / 2, 2 * ARC + 1)
    ball = _lathe(np.cos(half), np.sin(half))
    return Mesh(ball.vertices * (size if kind == ELLIPSOID else size[0]), ball.faces)


def _lathe(radius: np.ndarray, height: np.ndarray) -> Mesh:
    """A profile from bottom to top, [P] each, turned around the z axis."""
    angle = np.arange(SECTORS) * 2 * np.pi / SECTORS
    x, y = radius[:, None] * np.cos(angle), radius[:, None] * np.sin(angle)
    vertices = np.stack([x, y, np.broadcast_to(height[:, None], x.shape)], axis=-1)
    return _grid(vertices, around=True)


def _grid(vertices: np.ndarray, around: bool = False) -> Mesh:
    """Vertices [P, Q, 3] with two triangles between each four; `around`: the last column meets the first."""
    index = np.arange(vertices.shape[0] * vertices.shape[1]).reshape(vertices.shape[:2])
    if around:
        index = np.concatenate([index, index[:, :1]], axis=1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return merged(Mesh(vertices.reshape(-1, 3), faces))


def _box(half: np.ndarray) -> Mesh:
    corners = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]) * half
    sides = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    return Mesh(corners, np.array([face for a, b, c, d in sides for face in ((a, b, c), (a, c, d))]))


def _mesh(model: mujoco.MjModel, m: int) -> Mesh:
    start, face = model.mesh_vertadr[m], model.mesh_faceadr[m]
    vertices = model.mesh_vert[start : start + model.mesh_vertnum[m]]
    return merged(Mesh(vertices.astype(float), model.mesh_face[face : face + model.mesh_facenum[m]].astype(int)))


def _height_field(model: mujoco.MjModel, h: int) -> Mesh:
    rows, columns = model.hfield_nrow[h], model.hfield_ncol[h]
    x, y, top, _ = model.hfield_size[h]
    start = model.hfield_adr[h]
    heights = model.hfield_data[start : start + rows * columns].reshape(rows, columns) * top
    i, j = (np.unique(np.linspace(0, n - 1, min(n, MOST_HEIGHTS)).round().astype(int)) for n in (rows, columns))
    xs, ys = np.linspace(-x, x, columns)[j], np.linspace(-y, y, rows)[i]
    grid_x, grid_y = np.meshgrid(xs, ys)
    return _grid(np.stack([grid_x, grid_y, heights[np.ix_(i, j)]], axis=-1))


def merged(mesh: Mesh, cell: float = 1e-6) -> Mesh:
    """The same with the vertices of each cell [m] of a grid in one, at their mean; faces without area are gone."""
    place = np.round((mesh.vertices - mesh.vertices.min(axis=0)) / cell).astype(np.int64)
    _, group = np.unique(_one_number(place), return_inverse=True)
    count = np.bincount(group)
    means = np.stack([np.bincount(group, mesh.vertices[:, i]) / count for i in range(3)], axis=1)
    faces = group[mesh.faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    _, first = np.unique(_one_number(np.sort(faces, axis=1)), return_index=True)  # flattened parts leave pairs
    faces = faces[np.sort(first)]
    used, index = np.unique(faces, return_inverse=True)
    return Mesh(means[used], index.reshape(-1, 3))


def _one_number(rows: np.ndarray) -> np.ndarray:
    """Rows [N, 3] of whole numbers from 0 up, each as one number [N], alike only where the rows are."""
    x, y, z = rows.max(axis=0, initial=0) + 1
    if int(x) * int(y) * int(z) >= 2**63:
        return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return (rows[:, 0] * y + rows[:, 1]) * z + rows[:, 2]


def simplified(meshes: list[Mesh], most: int = MOST_TRIANGLES) -> list[Mesh]:
    """The same meshes where they have at most so many triangles together, else each coarser by the same share of its
    size, so much that they have. No mesh vanishes, so that very many of them may stay above."""
    found, share = meshes, FINEST
    while sum(len(mesh.faces) for mesh in found) > most and share < COARSEST:
        coarser = [merged(mesh, share * float(np.ptp(mesh.vertices, axis=0).max())) for mesh in meshes]
        found = [new if len(new.faces) else old for new, old in zip(coarser, found, strict=True)]
        share *= COARSER
    return found
