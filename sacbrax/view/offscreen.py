"""A screen without a display: MuJoCo draws into memory, on the first OpenGL library of the machine that works.

`mujoco.Renderer` fixes the library when MuJoCo is first imported; here it is chosen when the first picture is wanted.
"""

import importlib
import os
import sys
import warnings
from typing import Any

import mujoco
import numpy as np

from sacbrax.core.command import SWITCHES
from sacbrax.core.errors import RunError, one_line

SAMPLES = 4  # per pixel
MAX_SHAPES = 10_000


class Screen:
    """Pictures of one model. Raises RunError when this machine cannot draw."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int):
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        model.vis.quality.offsamples = SAMPLES
        self._model = model
        self._context, self._gl = _open(model, width, height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._gl)
        self._scene = mujoco.MjvScene(model, MAX_SHAPES)
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[effect] = False  # in software they take four times as long as all the rest
        self._options, self._area = mujoco.MjvOption(), mujoco.MjrRect(0, 0, width, height)

    def draw(self, data: mujoco.MjData, camera: mujoco.MjvCamera) -> np.ndarray:
        """The scene as `camera` sees it, [height, width, 3] uint8."""
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._options, None, camera, every, self._scene)
        mujoco.mjr_render(self._area, self._scene, self._gl)
        pixels = np.empty((self._area.height, self._area.width, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._area, self._gl)
        return pixels[::-1]

    def close(self) -> None:
        """Give the machine's graphics back."""
        self._gl.free()
        self._context.free()


def _open(model: mujoco.MjModel, width: int, height: int) -> tuple[Any, mujoco.MjrContext]:
    """OpenGL's context and MuJoCo's: of what MUJOCO_GL names, else EGL, OSMesa or what the system brings."""
    usual = ("egl", "osmesa") if sys.platform == "linux" else ("cgl", "glfw") if sys.platform == "darwin" else ("glfw",)
    problems = []
    asked = os.environ.get("MUJOCO_GL", "").lower()
    for library in [asked] if asked not in ("", *SWITCHES) else usual:
        try:
            with warnings.catch_warnings(action="ignore"):  # GLFW's
                context = importlib.import_module(f"mujoco.{library}").GLContext(width, height)
                context.make_current()
                return context, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except Exception as error:  # of many kinds, by what is missing
            problems.append(f"{library}: {one_line(error)}")
    raise RunError(
        f"no renderer on this machine ({'; '.join(problems)}); on Debian install libegl1 and libgl1-mesa-dri, or "
        "libosmesa6. A page (.html) needs none"
    )
