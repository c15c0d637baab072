"""Both engines against C MuJoCo: stage by stage, one environment step, a long rollout; isolation; refusals.

States are generic: every hinge anywhere in its range and a little beyond (limits active), headings of many turns, slow
to fast spins, controls beyond their range. MuJoCo's own solver is run to convergence.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from sacbrax.envs import models
from sacbrax.envs.chain import read_chain
from sacbrax.envs.dynamics import accelerations, motor_torques, reduced_system, sincos
from sacbrax.envs.fused import Fused
from sacbrax.envs.mjx import Mjx

ENGINES = {"fused": Fused, "mjx": Mjx}
STEP_TOLERANCE = {"fused": 1e-9, "mjx": 2e-6}  # relative, float64; MJX stops its solver by its own criterion
INTEGRATORS = {"RK4": mujoco.mjtIntegrator.mjINT_RK4, "Euler": mujoco.mjtIntegrator.mjINT_EULER}
slow = pytest.mark.slow


def build(task: str, links: int, integrator: str) -> tuple[mujoco.MjModel, int]:
    """A model with its constraint solver converged, and its frame skip."""
    model, frame_skip = {"gym": (models.gym_swimmer, 4), "rllab": (models.rllab_swimmer, 50)}[task]
    model = model(links)
    model.opt.integrator = INTEGRATORS[integrator]
    model.opt.tolerance, model.opt.iterations, model.opt.ls_iterations = 0, 100, 100
    return model, frame_skip


def random_states(model: mujoco.MjModel, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """qpos [n, nq], qvel [n, nv], ctrl [n, nu]: see the head of this file."""
    rng = np.random.default_rng(seed)
    qpos = rng.uniform(-1.78, 1.78, (n, model.nq))
    qpos[:, 2] *= 10
    qvel = rng.normal(size=(n, model.nv)) * rng.choice([0.1, 1.0], (n, 1))
    qvel[::4, 2] += rng.choice([-8, 8], len(qvel[::4]))  # a fast spin of the whole body
    ctrl = rng.uniform(-1.2, 1.2, (n, model.nu)) * model.actuator_ctrlrange[:, 1]
    return qpos, qvel, ctrl


def stable_states(model: mujoco.MjModel, n: int, steps: int) -> tuple[np.ndarray, ...]:
    """Random states that C MuJoCo itself survives for `steps` time steps; long chains are unstable in the wildest."""
    data, kept = mujoco.MjData(model), []
    for q, v, u in zip(*random_states(model, 8 * n), strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = q, v, u
        mujoco.mj_step(model, data, steps)
        # A state about to fly apart magnifies rounding errors without saying so yet.
        calm = np.abs(data.qvel).max() < 20 and not any(warning.number for warning in data.warning)
        kept += [(q, v, u)] if calm else []
    assert len(kept) >= n // 2, "hardly any state is stable"
    return tuple(np.array(x) for x in zip(*kept[:n], strict=True))


def mujoco_steps(model: mujoco.MjModel, steps: int, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray) -> Any:
    """C MuJoCo's states after `steps` time steps from each row."""
    data, ends = mujoco.MjData(model), []
    for q, v, u in zip(qpos, qvel, ctrl, strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = q, v, u
        mujoco.mj_step(model, data, steps)
        assert not any(warning.number for warning in data.warning), "the reference itself is unstable in this state"
        ends.append((data.qpos.copy(), data.qvel.copy()))
    return tuple(np.array(x) for x in zip(*ends, strict=True))


def full_mass_matrix(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """M [nv, nv]: qfrc_inverse is linear in the acceleration, with slope M."""
    columns = []
    for unit in np.eye(model.nv):
        column = np.zeros(model.nv)
        mujoco.mj_mulM(model, data, column, unit)
        columns.append(column)
    return np.array(columns)


def relative(ours: Any, theirs: Any) -> float:
    """Largest difference in units of the largest entry."""
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("links", [3, 6, 10])
@pytest.mark.parametrize("task", ["gym", "rllab"])
def test_each_stage_of_the_fused_engine_equals_mujoco(task: str, links: int, integrator: str) -> None:
    """Mass matrix and bias + passive + actuator force, both with x and y eliminated, and qacc; relative 1e-9."""
    model, _ = build(task, links, integrator)
    chain, data = read_chain(model), mujoco.MjData(model)
    for q, v, u in zip(*random_states(model, 60), strict=True):
        q[3] = 1.8 * np.sign(q[3])  # one limit violated, often more
        data.qpos[:], data.qvel[:], data.ctrl[:] = q, v * 3, u
        mujoco.mj_forward(model, data)
        M, force = full_mass_matrix(model, data), data.qfrc_passive - data.qfrc_bias + data.qfrc_actuator
        share = M[2:, :2] @ np.linalg.inv(M[:2, :2])
        torque = motor_torques(chain, list(u), np)
        H, F, _ = reduced_system(chain, list(q), list(v * 3), torque, np)
        assert relative(np.array(H, float), M[2:, 2:] - share @ M[:2, 2:]) < 1e-9, "mass matrix"
        assert relative(np.array(F), force[2:] - share @ force[:2]) < 1e-9, "bias and passive force"
        assert relative(accelerations(chain, list(q), list(v * 3), torque, np), data.qacc) < 1e-9, "qacc"
        assert data.nefc > 0


CASES = [
    pytest.param("fused", "gym", 3, "RK4"),
    pytest.param("fused", "rllab", 3, "Euler"),
    pytest.param("fused", "gym", 4, "RK4"),
    pytest.param("mjx", "gym", 3, "RK4"),
    pytest.param("mjx", "rllab", 3, "Euler", marks=slow),
    *(
        pytest.param(engine, task, links, integrator, marks=slow)
        for engine in ENGINES
        for task in ("gym", "rllab")
        for links in (3, 6, 10)
        for integrator in INTEGRATORS
        if (task, integrator, links) not in (("gym", "RK4", 3), ("rllab", "Euler", 3))
    ),
]

MJX = ("mjx", "gym", 3, "RK4")  # compiles for long: by default in float32 only


@functools.cache
def compiled_step(engine: str, task: str, links: int, integrator: str, x64: bool) -> Any:
    """The engine's step over rows, compiled once for all tests that use it."""
    if engine == "mjx":
        jax.clear_caches()  # its nested jits would bring constants of the other precision along
    with jax.enable_x64(x64):
        model, frame_skip = build(task, links, integrator)
        step = jax.jit(jax.vmap(ENGINES[engine](model, frame_skip).step))

    def call(*rows: Any) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(x64):
            qpos, qvel = step(*(jnp.asarray(x, jnp.float64 if x64 else jnp.float32) for x in rows))
            return np.asarray(qpos), np.asarray(qvel)

    return call


@pytest.mark.parametrize(
    ("engine", "task", "links", "integrator"),
    [pytest.param("mjx", "gym", 3, "RK4", marks=slow) if case.values == MJX else case for case in CASES],
)
def test_one_environment_step_in_float64(engine: str, task: str, links: int, integrator: str) -> None:
    model, frame_skip = build(task, links, integrator)
    states = stable_states(model, 48, frame_skip)
    qpos, qvel = mujoco_steps(model, frame_skip, *states)
    ours = compiled_step(engine, task, links, integrator, True)(*states)
    assert relative(ours[0], qpos) < STEP_TOLERANCE[engine], "qpos"
    assert relative(ours[1], qvel) < STEP_TOLERANCE[engine], "qvel"


@pytest.mark.parametrize(("engine", "task", "links", "integrator"), CASES)
def test_one_environment_step_in_float32(engine: str, task: str, links: int, integrator: str) -> None:
    """Within 1e-4 (m, rad, and of the largest velocity) from the same, rounded, state."""
    model, frame_skip = build(task, links, integrator)
    states = [x.astype(np.float32).astype(float) for x in stable_states(model, 48, frame_skip)]
    qpos, qvel = mujoco_steps(model, frame_skip, *states)
    ours = compiled_step(engine, task, links, integrator, False)(*states)
    assert ours[0].dtype == np.float32
    assert np.abs(ours[0] - qpos).max() < 1e-4, "qpos"
    assert relative(ours[1], qvel) < 1e-4, "qvel"


@pytest.mark.parametrize(
    ("engine", "task", "links", "integrator"),
    [
        CASES[0],
        pytest.param("fused", "rllab", 3, "Euler", marks=slow),
        pytest.param("mjx", "gym", 3, "RK4", marks=slow),
    ],
)
def test_a_thousand_steps_stay_together(engine: str, task: str, links: int, integrator: str) -> None:
    """16 environments from the task's reset, random actions, float64: within 1e-6 (m, rad, m/s, rad/s) all the way.

    The motion is chaotic: MuJoCo itself, started 1e-15 away, can differ by more for a moment when a limit is hit. Where
    that is so, ten times its own difference is allowed.
    """
    model, frame_skip = build(task, links, integrator)
    rng = np.random.default_rng(0)
    qpos, qvel = rng.uniform(-0.1, 0.1, (2, 16, model.nq))
    data, nudged = ([mujoco.MjData(model) for _ in qpos] for _ in range(2))
    for i, (q, v) in enumerate(zip(qpos, qvel, strict=True)):
        data[i].qpos[:], data[i].qvel[:] = q, v
        nudged[i].qpos[:], nudged[i].qvel[:] = q + 1e-15, v
    step = compiled_step(engine, task, links, integrator, True)
    ours, theirs = 0.0, 0.0
    for _ in range(1000):
        ctrl = rng.uniform(-1, 1, (len(qpos), model.nu)) * model.actuator_ctrlrange[:, 1]
        qpos, qvel = step(qpos, qvel, ctrl)
        for d, u in zip(data + nudged, [*ctrl, *ctrl], strict=True):
            d.ctrl[:] = u
            mujoco.mj_step(model, d, frame_skip)
        reference = np.array([[*d.qpos, *d.qvel] for d in data])
        ours = np.maximum(ours, np.abs(np.hstack([qpos, qvel]) - reference).max(axis=1))
        theirs = np.maximum(theirs, np.abs([[*d.qpos, *d.qvel] for d in nudged] - reference).max(axis=1))
    assert (ours < np.maximum(1e-6, 10 * theirs)).all(), (ours, theirs)
    assert np.median(ours) < 1e-7


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_broken_environment_reaches_no_other(engine: str, poison: float) -> None:
    step = compiled_step(engine, "gym", 3, "RK4", False)
    states = random_states(build("gym", 3, "RK4")[0], 48)
    clean = step(*states)
    states[1][5] = poison
    broken = step(*states)
    others = np.arange(48) != 5
    for before, after in zip(clean, broken, strict=True):
        assert not np.isfinite(after[5]).all()
        np.testing.assert_array_equal(after[others], before[others])


@pytest.mark.parametrize("n", [1, 100, 129, 300])
def test_the_fused_engine_takes_any_number_of_environments(n: int) -> None:
    """The blocks it splits a batch into, and nested vmaps, change nothing."""
    model, frame_skip = build("gym", 3, "RK4")
    states = [jnp.asarray(x, jnp.float32) for x in random_states(model, n)]
    engine = Fused(model, frame_skip)
    qpos, qvel = jax.jit(jax.vmap(engine.step))(*states)
    last = jax.jit(engine.step)(*(x[-1] for x in states))
    np.testing.assert_allclose(qpos[-1], last[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(qvel[-1], last[1], rtol=1e-4, atol=1e-4)
    if n % 2 == 0:
        nested = jax.jit(jax.vmap(jax.vmap(engine.step)))(*(x.reshape(2, n // 2, -1) for x in states))
        np.testing.assert_allclose(nested[0].reshape(n, -1), qpos, rtol=1e-5, atol=1e-5)


def test_float32_sine_and_cosine() -> None:
    x = np.concatenate([np.linspace(-1e4, 1e4, 100_001), np.linspace(-4, 4, 10_001)]).astype(np.float32)
    sin, cos = sincos(jnp.asarray(x))
    np.testing.assert_allclose(sin, np.sin(x.astype(float)), atol=2e-7)
    np.testing.assert_allclose(cos, np.cos(x.astype(float)), atol=2e-7)


def edited(old: str, new: str, count: int = -1) -> mujoco.MjModel:
    mjcf = models.swimmer_mjcf(3, integrator="RK4", timestep=0.01, armature=0.1, gear=150, control=1)
    assert old in mjcf
    return mujoco.MjModel.from_xml_string(mjcf.replace(old, new, count))


@pytest.mark.parametrize(
    ("old", "new", "feature"),
    [
        ('contype="0" conaffinity="0"', 'contype="1" conaffinity="1"', "contacts"),
        ('integrator="RK4"', 'integrator="implicit"', "integrator IMPLICIT"),
        ('<joint armature="0.1"/>', '<joint armature="0.1" stiffness="1"/>', "jnt_stiffness"),
        ('<joint armature="0.1"/>', '<joint armature="0.1" frictionloss="1"/>', "frictionloss"),
        ('name="link1" type="capsule"', 'name="link1" type="capsule" fluidshape="ellipsoid"', "geom_fluid"),
        ('pos="-1.0 0 0"', 'pos="-1.0 0.1 0"', "off the link's own x axis"),
        ('type="hinge" axis="0 0 1" limited="true" range="-100 100"', 'type="slide" axis="0 0 1"', "the joints"),
        ('density="4000"', 'density="4000" wind="1 0 0"', "wind"),
        ("<worldbody>", '<option gravity="1 0 0"/><worldbody>', "gravity"),
        ("<worldbody>", '<option><flag limit="disable"/></option><worldbody>', "option flags"),
        ("<actuator>", '<actuator><position joint="hinge1" kp="1"/>', "actuator"),
        ("</actuator>", '</actuator><equality><joint joint1="hinge1"/></equality>', "equality constraints"),
        ('<joint name="heading"', '<joint name="heading" limited="true" range="-90 90"', "limits on"),
    ],
)
def test_a_model_it_does_not_cover_is_refused(old: str, new: str, feature: str) -> None:
    with pytest.raises(ValueError, match=rf"env\.engine=fused does not cover .*{feature}.*env\.engine=mjx"):
        Fused(edited(old, new), 4)


@pytest.mark.parametrize(
    "limits",
    [
        'solreflimit="0.05 0.7" solimplimit="0.8 0.99 0.05 0.3 3"',
        'solreflimit="-500 -20" solimplimit="0.9 0.9 0.01 0.5 1"',
        'solreflimit="0.001 1" solimplimit="0.5 0.95 0.1 0.5 1"',
    ],
)
def test_limits_of_any_softness(limits: str) -> None:
    """solref in both forms, below its safe minimum too; solimp of any power: qacc equals MuJoCo's, relative 1e-9."""
    model = edited('limited="true" range', f'limited="true" {limits} range')
    model.opt.tolerance = 0
    chain, data = read_chain(model), mujoco.MjData(model)
    for q, v, u in zip(*random_states(model, 200), strict=True):
        data.qpos[:], data.qvel[:], data.ctrl[:] = q * 1.05, v, u
        mujoco.mj_forward(model, data)
        ours = accelerations(chain, list(q * 1.05), list(v), motor_torques(chain, list(u), np), np)
        assert relative(ours, data.qacc) < 1e-9
