"""Models and steps of C MuJoCo's own, for engines to be held to."""

from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from hypothesis import strategies as st

from sacbrax.engines.model_warnings import unheard

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"


def load(name: str, exact: bool = True) -> mujoco.MjModel:
    with unheard():
        model = mujoco.MjModel.from_xml_path(str(ASSETS / f"{name}.xml"))
    return solved(model) if exact else model


def solved(model: mujoco.MjModel) -> mujoco.MjModel:
    """With a solver that does not stop early: its answer is unique, so it is what any other must find."""
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    model.opt.tolerance, model.opt.iterations, model.opt.ls_iterations, model.opt.ls_tolerance = 0, 200, 100, 1e-12
    return model


def mujocos(model: mujoco.MjModel, skip: int, *state: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The same step in C MuJoCo, and contacts an environment at its end."""
    data, qpos, qvel, contacts = mujoco.MjData(model), [], [], 0
    for q, v, u in zip(*state, strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = q, v, u
        mujoco.mj_step(model, data, skip)
        qpos.append(data.qpos.copy())
        qvel.append(data.qvel.copy())
        contacts += data.ncon
    return np.array(qpos), np.array(qvel), contacts / len(state[0])


def number(low: float, high: float) -> st.SearchStrategy[float]:
    """Hundredths."""
    return st.integers(round(100 * low), round(100 * high)).map(lambda i: i / 100)
