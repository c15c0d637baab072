"""Silence about models that are not ours: MuJoCo writes on standard error what is out of date in their XML, once for
each environment. A user of Gymnasium's or Brax's models can do nothing about it.
"""

import contextlib
from collections.abc import Iterator

import mujoco


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """MuJoCo's warnings go nowhere."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
