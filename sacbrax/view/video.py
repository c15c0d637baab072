"""An episode as moving pictures: MuJoCo's renderer without a display, a line of text in each frame, MP4 and GIF files.

Knows episodes, no policies and no runs.
"""

import copy
import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sacbrax.config import ConfigError
from sacbrax.core.errors import last_line
from sacbrax.view import shapes
from sacbrax.view.episode import Episode, poses
from sacbrax.view.offscreen import Screen

GIF_COLOURS = 64  # of all its pictures


def frames(episode: Episode, every: int, size: tuple[int, int], camera: str) -> Iterator[np.ndarray]:
    """Pictures [height, width, 3] of every `every`-th pose, return and time written in the corner.

    camera: one of the model's, or `auto`: its first one if it has any, else MuJoCo's free camera. Raises RunError when
    this machine has no renderer, ConfigError when the model has no such camera.
    """
    model, qpos = poses(episode)
    model = copy.copy(model)
    if (head := shapes.chain_head(model)) is not None:
        model.geom_rgba[model.geom_bodyid == head, :3] = shapes.HEAD
    view, (width, height) = _camera(model, camera), size
    data, font = mujoco.MjData(model), ImageFont.load_default(max(10, height // 22))
    screen = Screen(model, width, height)
    try:
        for i in range(0, len(qpos), every):
            data.qpos[:] = qpos[i]
            mujoco.mj_forward(model, data)
            picture = Image.fromarray(screen.draw(data, view))
            earned = round(float(episode.returns[i]), 1) + 0.0  # and no -0.0
            text, corner = f"return {earned:6.1f}   time {i * episode.dt:5.1f} s", height // 30
            outline = max(1, height // 240)
            draw = ImageDraw.Draw(picture)
            draw.text((corner, corner), text, "white", font, stroke_width=outline, stroke_fill="black")
            yield np.asarray(picture)
    finally:
        screen.close()


def write_mp4(path: Path, pictures: Iterator[np.ndarray], seconds: float) -> None:
    """H.264, which every browser plays; `seconds` per frame. Raises ConfigError when imageio-ffmpeg is missing."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise ConfigError("--out: imageio-ffmpeg is not installed; pip install 'sacbrax[video]'") from None
    first = next(pictures)
    height, width, _ = first.shape
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"]
    command += [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{width}x{height}",
        "-r",
        f"{1.0 / seconds:.6f}",
        "-i",
        "-",
    ]
    command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-movflags", "+faststart", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None  # it is a pipe
        try:
            for picture in itertools.chain([first], pictures):
                encoder.stdin.write(picture.tobytes())
        except BrokenPipeError:
            pass  # the encoder has ended and says why
        errors = encoder.communicate()[1].decode(errors="replace")
    if encoder.returncode:
        raise OSError(last_line(errors, f"ffmpeg ended with status {encoder.returncode}"))


def write_gif(path: Path, pictures: Iterator[np.ndarray], seconds: float) -> None:
    """An endless GIF of one palette; `seconds` per frame, rounded to GIF's hundredths."""
    palette: Any = None
    images = []
    for picture in pictures:
        image = Image.fromarray(picture)
        if palette is None:
            palette = image.quantize(GIF_COLOURS, dither=Image.Dither.NONE)
        images.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
    duration = max(20, round(seconds * 100) * 10)
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=False)


def _frame(view: mujoco.MjvCamera, model: mujoco.MjModel) -> None:
    """Look at what is not the ground, from where all of it is seen."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    solid = model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE
    if not solid.any():
        return
    place, reach = data.geom_xpos[solid], model.geom_rbound[solid, None]
    low, high = (place - reach).min(axis=0), (place + reach).max(axis=0)
    view.lookat[:] = (low + high) / 2
    view.distance = float(np.linalg.norm(high - low))


def _camera(model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
    known = [model.camera(i).name for i in range(model.ncam)]
    view = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, view)
    if name != "auto" and name not in known:
        raise ConfigError(f"--camera: unknown {name!r}; choose from {', '.join(['auto', *known])}")
    if known:
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = 0 if name == "auto" else known.index(name)
    else:
        _frame(view, model)
    return view
