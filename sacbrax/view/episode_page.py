"""An episode as a piece of web page that plays it: any MuJoCo model in WebGL, in one file that loads nothing.

Brax's own viewer is not used: it fetches its program from the web each time the page is opened. Knows episodes, no
policies and no runs.
"""

import base64
import html
import json
import zlib
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from sacbrax.view import shapes
from sacbrax.view.episode import Episode, poses

WEB = Path(__file__).parent / "web"
STYLE = (WEB / "player.css").read_text(encoding="utf-8")
LEVELS = 2**16 - 1  # of every number that changes in time, between its lowest and its highest value
MOST_FRAMES = 2_000  # of longer episodes each second, third, ... step is drawn


def player(episode: Episode) -> str:
    """A <div> with its script; the page has `STYLE`. Raises PolicyFileError where there is nothing to draw."""
    head, numbers = _data(episode)
    script = "\n".join((WEB / name).read_text(encoding="utf-8") for name in ("scene.js", "player.js"))
    return f"""<div class="player">
<div class="stage"><canvas class="picture"></canvas><p class="text"></p></div>
<canvas class="traces"></canvas>
<div class="controls"><button type="button">pause</button>
<input type="range" min="0" value="0" aria-label="time">
<label>speed <select><option>0.25</option><option>0.5</option><option selected>1</option><option>2</option>
<option>4</option></select></label></div>
<p class="hint">Drag to turn, shift and drag to move, wheel or two fingers to come closer, double click to go back.</p>
<script>{{
{script}
play(document.currentScript.parentElement, {json.dumps(head, separators=(",", ":"))},
"{base64.b64encode(numbers).decode()}");
}}</script></div>"""


def page(episode: Episode, title: str) -> str:
    """A whole page with the player alone."""
    seconds = len(episode.reward) * episode.dt
    facts = f"{episode.task} on {episode.engine}: return {episode.returns[-1]:.1f} in {seconds:.1f} s"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>body {{ font-family: system-ui, sans-serif; margin: 1.5rem; }} {STYLE}</style></head>
<body><h1>{html.escape(title)}</h1><p>{html.escape(facts)}</p>
{player(episode)}
</body></html>
"""


def _data(episode: Episode) -> tuple[dict[str, Any], bytes]:
    """What the script needs: a mapping for JSON and packed numbers.

    The numbers are 16-bit, little-endian, deflated: of each mesh its vertices [V, 3] and faces [F, 3], then the tracks
    [C, T] that change in time, each as the differences of its quantized values: position and quaternion of each drawn
    body, return and reward, actions.
    """
    model, qpos = poses(episode)
    every = -(-len(qpos) // MOST_FRAMES)
    drawn = shapes.solids(model)
    bodies = sorted({geom.body for geom in drawn})
    place = _body_poses(model, qpos[::every], bodies)
    reward, action = np.append(0.0, episode.reward), np.concatenate([np.zeros_like(episode.action[:1]), episode.action])
    values = (episode.returns[::every, None], reward[::every, None], action[::every])
    tracks = np.concatenate([place.reshape(len(place), -1), *values], axis=1).T  # [C, T]
    meshes: dict[bytes, int] = {}
    parts, sizes = [], []
    for geom in drawn:
        if (key := geom.mesh.vertices.tobytes()) not in meshes:
            meshes[key] = len(meshes)
            vertices, low, step = _quantized(geom.mesh.vertices.T)
            parts += [vertices.T, geom.mesh.faces]
            sizes.append([len(geom.mesh.vertices), len(geom.mesh.faces), _short(low), _short(step)])
    quantized, low, step = _quantized(tracks)
    parts.append(np.diff(quantized, axis=1, prepend=0))
    packed = b"".join((part.astype(np.int64) & LEVELS).astype("<u2").tobytes() for part in parts)
    head = {
        "dt": episode.dt * every,
        "frames": tracks.shape[1],
        "actions": episode.action.shape[1],
        "bodies": len(bodies),
        "ground": _ground(model, drawn, place, bodies),
        "view": _view(place[:, [body != 0 for body in bodies], :3]),
        "meshes": sizes,
        "low": _short(low),
        "step": _short(step),
        "geoms": [
            {
                "moves": geom.body != 0,
                "body": bodies.index(geom.body),
                "mesh": meshes[geom.mesh.vertices.tobytes()],
                "position": _short(geom.position),
                "quaternion": _short(geom.quaternion),
                "colour": _short(geom.colour),
            }
            for geom in drawn
        ],
    }
    return head, zlib.compress(packed, 9)


def _body_poses(model: mujoco.MjModel, qpos: np.ndarray, bodies: list[int]) -> np.ndarray:
    """Position and quaternion of each body at each pose, [T, B, 7]; a quaternion keeps its sign from step to step."""
    data, place = mujoco.MjData(model), np.zeros((len(qpos), len(bodies), 7))
    for frame, pose in zip(place, qpos, strict=True):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        frame[:, :3], frame[:, 3:] = data.xpos[bodies], data.xquat[bodies]
    turns = place[..., 3:]
    flips = np.where(np.sum(turns[1:] * turns[:-1], axis=-1) < 0, -1.0, 1.0)
    turns[1:] *= np.cumprod(flips, axis=0)[..., None]
    return place


def _ground(model: mujoco.MjModel, drawn: list[shapes.Geom], place: np.ndarray, bodies: list[int]) -> float | None:
    """The height [m] of the ground: of the model's own level plane, of none where there is a height field, else where
    the lowest point is that anything reaches."""
    if (height := shapes.ground(model)) is not None:
        return height
    if np.any(model.geom_type == shapes.HEIGHT_FIELD):
        return None
    lowest = np.inf
    for geom in drawn:
        for pose in place[:: max(1, len(place) // 20), bodies.index(geom.body)]:
            points = _turned(geom.mesh.vertices, geom.quaternion) + geom.position
            lowest = min(lowest, (_turned(points, pose[3:]) + pose[:3])[:, 2].min())
    return float(lowest)


def _turned(points: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Points [V, 3] turned by a quaternion [4]."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quaternion, np.float64))
    return points @ matrix.reshape(3, 3).T


def _view(position: np.ndarray) -> str:
    """From where to look at bodies that go through these positions [T, B, 3]: from above at what stays in its plane,
    from the side at what stays in the plane of x and z, else from between."""
    still = np.ptp(position, axis=0).max(axis=0, initial=0.0) < 1e-6  # [3], along each axis
    return "above" if still[2] else "side" if still[1] else "between"


def _quantized(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows [C, N] as whole numbers up to `LEVELS`, with the lowest value and the size of a step of each row."""
    low = values.min(axis=1)
    step = np.ptp(values, axis=1) / LEVELS
    return np.round((values - low[:, None]) / np.where(step > 0, step, 1.0)[:, None]).astype(int), low, step


def _short(values: np.ndarray) -> list[float]:
    """For JSON, to seven digits."""
    return [float(f"{value:.7g}") for value in values]
