"""An episode as a piece of web page that plays it: capsules on a canvas, in one file that loads nothing.

Brax's own viewer is not used: it fetches its program from the web each time the page is opened. Knows episodes, no
policies and no runs.
"""

import html
import json
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from sacbrax.policy_file.numpy_policy import PolicyFileError
from sacbrax.view.episode import Episode, poses

WEB = Path(__file__).parent / "web"
CAPSULE, SPHERE = mujoco.mjtGeom.mjGEOM_CAPSULE.value, mujoco.mjtGeom.mjGEOM_SPHERE.value
STYLE = (WEB / "player.css").read_text(encoding="utf-8")


def player(episode: Episode) -> str:
    """A <div> with its script; the page has `STYLE`. Raises PolicyFileError where there is nothing to draw."""
    return f"""<div class="player">
<canvas></canvas>
<div class="controls"><button type="button">pause</button>
<input type="range" min="0" value="0" aria-label="time">
<label>speed <select><option>0.25</option><option>0.5</option><option selected>1</option><option>2</option>
<option>4</option></select></label></div>
<script>{(WEB / "player.js").read_text(encoding="utf-8")}
play(document.currentScript.parentElement, {json.dumps(_data(episode), separators=(",", ":"))});
</script></div>"""


def page(episode: Episode, title: str) -> str:
    """A whole page with the player alone."""
    seconds = len(episode.reward) * episode.dt
    facts = f"{episode.task} on {episode.engine}: return {episode.returns[-1]:.1f} in {seconds:.1f} s"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>body {{ font-family: system-ui, sans-serif; margin: 1.5rem; }} {STYLE}</style></head>
<body><h1>{html.escape(title)}</h1><p>{html.escape(facts)}</p>
{player(episode)}
</body></html>
"""


def _data(episode: Episode) -> dict[str, Any]:
    """The capsules and spheres of every pose, seen from above if the model moves in that plane, else from the side."""
    model, qpos = poses(episode)
    shown = [g for g in range(model.ngeom) if model.geom_type[g] in (CAPSULE, SPHERE) and model.geom_bodyid[g] != 0]
    if not shown:
        raise PolicyFileError(f"the task {episode.task} has no capsules or spheres, and a page draws no other shapes")
    radius = model.geom_size[shown, 0]
    half = np.where(model.geom_type[shown] == CAPSULE, model.geom_size[shown, 1], 0.0)
    data, ends = mujoco.MjData(model), np.zeros((len(qpos), len(shown), 2, 3))
    for frame, pose in zip(ends, qpos, strict=True):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        centre = data.geom_xpos[shown]
        axis = data.geom_xmat[shown].reshape(-1, 3, 3)[:, :, 2] * half[:, None]
        frame[:] = np.stack([centre - axis, centre + axis], axis=1)
    flat = np.ptp(ends[..., 2]) < 1e-6
    plane = ends[..., [0, 1]] if flat else ends[..., [0, 2]]
    return {
        "dt": episode.dt,
        "returns": np.round(episode.returns, 2).tolist(),
        "radius": radius.tolist(),
        "ends": np.round(plane * 1000).astype(int).ravel().tolist(),
    }
