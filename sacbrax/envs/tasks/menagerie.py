"""The robots' files of MuJoCo Menagerie, which Playground's tasks of locomotion and manipulation need: where they are
looked for, and the command that gets them.

The package `mujoco-menagerie` of PyPI does not hold them. Playground clones them into its own installation, unless the
environment variable names a folder that has them.
"""

import importlib
import os
import subprocess
from pathlib import Path
from typing import Any

VARIABLE = "SACBRAX_MENAGERIE"
SOURCE = "https://github.com/google-deepmind/mujoco_menagerie"


def choose() -> None:
    """Have Playground read from the folder that the variable names, if it is set. Raises ValueError, one line, where
    there is no such folder."""
    if not (named := os.environ.get(VARIABLE)):
        return
    folder = Path(named).expanduser().absolute()
    if not folder.is_dir():
        raise ValueError(f"{VARIABLE}: {named} is no folder; {command(named)}")
    place: Any = _playgrounds()
    place.MENAGERIE_PATH = type(place.MENAGERIE_PATH)(folder)


def why(error: Exception, line: str) -> str:
    """`line`, which says what went wrong, with where the files are looked for and how to get them, if it was them."""
    if isinstance(error, subprocess.CalledProcessError) or getattr(error, "filename", None) == "git":
        return f"it needs the files of MuJoCo Menagerie, and fetching them failed ({line}); {command()}"
    if "Error opening file" in line:  # MuJoCo's words
        return f"{line}; the robots' files are looked for in {_playgrounds().MENAGERIE_PATH}; {command()}"
    return line


def command(folder: str = "mujoco_menagerie") -> str:
    """What gets them into `folder`, in the version that Playground is made for."""
    version = _playgrounds().MENAGERIE_COMMIT_SHA
    return f"get them: git clone {SOURCE} {folder} && git -C {folder} checkout {version} && export {VARIABLE}={folder}"


def _playgrounds() -> Any:
    """The module that says where Playground looks."""
    return importlib.import_module("mujoco_playground._src.mjx_env")
