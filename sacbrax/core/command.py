"""What a command does with its process before anything else, even before it imports the rest. Quick to import."""

import os
import sys

from sacbrax.core.signals import watch
from sacbrax.core.streams import Patient, standard_error

# What MUJOCO_GL may be, in MuJoCo's words: with any other its import fails, in whatever command.
SWITCHES = ("enable", "enabled", "on", "true", "1", "disable", "disabled", "off", "false", "0")
MUJOCO_GL = ("egl", "osmesa", "glfw", "glx", "cgl", "wgl", *SWITCHES)


def begin() -> None:
    """Be ready for signals, and for a standard error that breaks. Once more is the same as once."""
    watch()
    if not isinstance(sys.stderr, Patient):
        sys.stderr = standard_error()
    if (asked := os.environ.get("MUJOCO_GL", "").lower().strip()) and asked not in MUJOCO_GL:
        print(f"error: MUJOCO_GL={asked}: unknown; choose from egl, osmesa, glfw, or unset it", file=sys.stderr)
        sys.exit(2)
