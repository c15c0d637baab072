"""Both engines against C MuJoCo: stage by stage, one environment step, a long rollout; isolation; refusals.

States are generic: every hinge anywhere in its range and a little beyond (limits active), headings of many turns, slow
to fast spins, controls beyond their range. MuJoCo's own solver is run to convergence.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import mujoco.rollout
import numpy as np
import pytest

from sacbrax.engines import batched
from sacbrax.engines.fused import fused
from sacbrax.engines.mjx import Mjx
from sacbrax.engines.swimmer.dynamics import accelerations, motor_torques, reduced_system, sincos
from sacbrax.engines.swimmer.engine import FusedSwimmer
from sacbrax.engines.swimmer.mechanism import read_chain
from sacbrax.envs.tasks import swimmer_models

ENGINES = {"fused": fused, "mjx": Mjx}
# Relative, float64. Where a limit pushes, MJX's solver ends when its cost does not fall any more, some 1e-8 short.
STEP_TOLERANCE = {"fused": 1e-9, "mjx": 2e-6}
INTEGRATORS = {"RK4": mujoco.mjtIntegrator.mjINT_RK4, "Euler": mujoco.mjtIntegrator.mjINT_EULER}
slow = pytest.mark.slow


def build(task: str, links: int, integrator: str) -> tuple[mujoco.MjModel, int]:
    """A model with its constraint solver converged, and its frame skip."""
    model, frame_skip = {"gym": (swimmer_models.gym_swimmer, 4), "rllab": (swimmer_models.rllab_swimmer, 50)}[task]
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
    pytest.param("mjx", "gym", 3, "Euler"),
    pytest.param("mjx", "gym", 3, "RK4", marks=slow),
    pytest.param("mjx", "rllab", 3, "Euler", marks=slow),
    *(
        pytest.param(engine, task, links, integrator, marks=slow)
        for engine in ENGINES
        for task in ("gym", "rllab")
        for links in (3, 6, 10)
        for integrator in INTEGRATORS
        if (task, integrator, links) not in (("gym", "RK4", 3), ("rllab", "Euler", 3))
        and (engine, task, integrator, links) != ("mjx", "gym", "Euler", 3)
    ),
]

MJX = ("mjx", "gym", 3, "Euler")  # compiles for long: by default in float32 only


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
    [pytest.param(*MJX, marks=slow) if case.values == MJX else case for case in CASES],
)
def test_one_environment_step_in_float64(engine: str, task: str, links: int, integrator: str) -> None:
    model, frame_skip = build(task, links, integrator)
    states = stable_states(model, 48, frame_skip)
    qpos, qvel = mujoco_steps(model, frame_skip, *states)
    ours = compiled_step(engine, task, links, integrator, True)(*states)
    assert relative(ours[0], qpos) < STEP_TOLERANCE[engine], "qpos"
    assert relative(ours[1], qvel) < STEP_TOLERANCE[engine], "qvel"
    hinges = np.abs(np.hstack([states[0][:, 3:], qpos[:, 3:]]))
    free = (hinges < 1.7).all(axis=1)  # no limit pushes: nothing to solve for
    assert 2 < free.sum() < len(free)
    assert relative(ours[0][free], qpos[free]) < 1e-9, "qpos without limits"
    assert relative(ours[1][free], qvel[free]) < 1e-9, "qvel without limits"


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


class Together:
    """C MuJoCo and an engine over `steps` random actions from the task's reset, float64, 16 environments; `copies` more
    of C MuJoCo from starts `nudge` away in random directions. Differences in m, rad, m/s and rad/s."""

    def __init__(
        self, engine: str, task: str, integrator: str, copies: int, nudge: float, links: int = 3, steps: int = 1000
    ) -> None:
        model, frame_skip = build(task, links, integrator)
        step, self.single = compiled_step(engine, task, links, integrator, True), 0.0
        rng, directions = np.random.default_rng(0), np.random.default_rng(1)
        start = rng.uniform(-0.1, 0.1, (16, 2 * model.nq))
        away = nudge * directions.choice([-1, 1], (copies, *start.shape))
        mujocos, free = np.concatenate([start[None], start + away]), start
        at_limit, ours, theirs = [], [], []
        for _ in range(steps):
            ctrl = rng.uniform(-1, 1, (16, model.nu)) * model.actuator_ctrlrange[:, 1]
            both = np.concatenate([mujocos[0], free])
            both = np.hstack(step(*np.split(both, 2, axis=1), np.tile(ctrl, (2, 1))))
            single, free = np.split(both, 2)
            before = np.abs(mujocos[0][:, 3 : model.nq])
            mujocos = rollout_steps(model, frame_skip, mujocos, ctrl)
            after = np.abs(mujocos[0][:, 3 : model.nq])
            for part in np.split(np.arange(2 * model.nq), 2):
                self.single = max(self.single, relative(single[:, part], mujocos[0][:, part]))
            at_limit.append((np.maximum(before, after) > np.radians(swimmer_models.JOINT_RANGE)).any(axis=1))
            ours.append(np.abs(free - mujocos[0]))
            theirs.append(np.abs(mujocos[1:] - mujocos[0]).max(axis=2, initial=0.0))
        self.at_limit = np.array(at_limit)  # [T, 16]
        self.positions, self.velocities = (x.max(axis=2) for x in np.split(np.array(ours), 2, axis=2))  # [T, 16]
        self.copies = np.array(theirs).max(axis=(0, 1), initial=0.0)  # [16] the farthest that MuJoCo gets from itself


def rollout_steps(model: mujoco.MjModel, steps: int, states: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
    """C MuJoCo's states [copies, N, nq + nv] after `steps` time steps under the same ctrl [N, nu] for every copy."""
    copies, n, size = states.shape
    rows = np.hstack([np.zeros((copies * n, 1)), states.reshape(-1, size)])  # time, qpos, qvel
    controls = np.repeat(np.tile(ctrl, (copies, 1))[:, None], steps, axis=1)
    data = [mujoco.MjData(model) for _ in range(2)]
    ends = mujoco.rollout.rollout(model, data, rows, controls, persistent_pool=True)[0][:, -1, 1:]
    assert np.isfinite(ends).all()
    return ends.reshape(copies, n, size)


def test_gymnasiums_swimmer_stays_together_for_a_thousand_steps() -> None:
    """Every single step to 1e-9, so that no error hides behind chaos; the engine's own rollout to 1e-6.

    But for velocities while a limit pushes: C MuJoCo itself, from a start 1e-15 away, is 3e-6 off for that moment.
    """
    run = Together("fused", "gym", "RK4", copies=0, nudge=0.0)
    assert run.single < 1e-9
    assert run.positions.max() < 1e-6
    assert 0.02 < run.at_limit.mean() < 0.3
    assert run.velocities[~run.at_limit].max() < 1e-6
    assert run.velocities.max() < 1e-5


@slow
@pytest.mark.parametrize(
    ("engine", "task", "integrator", "nudge", "steps"),
    [("fused", "rllab", "Euler", 1e-15, 1000), ("mjx", "gym", "RK4", 1e-8, 200)],
)
def test_chaotic_swimmers_stay_as_close_as_mujoco_to_itself(
    engine: str, task: str, integrator: str, nudge: float, steps: int
) -> None:
    """Every single step to the tolerance of a step; the engine's own rollout to 1e-6, or to ten times the farthest of
    eight C MuJoCos that started a step's own error away.

    Rllab's swimmer takes 50,000 time steps and magnifies rounding up to 1e12 times; MJX's solver errs by 1e-8, and a
    converged one is so slow on a CPU that it goes a fifth of the way.
    """
    run = Together(engine, task, integrator, copies=8, nudge=nudge, steps=steps)
    assert run.single < STEP_TOLERANCE[engine]
    assert run.at_limit.any()
    ours = np.maximum(run.positions, run.velocities).max(axis=0)
    assert (ours < np.maximum(1e-6, 10 * run.copies)).all(), (ours, run.copies)
    if engine == "fused":
        assert (ours < 1e-6).sum() >= 10, "most environments are not that chaotic"


@pytest.mark.parametrize("engine", [pytest.param("mjx", marks=slow), "fused"])
def test_a_broken_environment_reaches_no_other(engine: str) -> None:
    step = compiled_step(engine, "gym", 3, "RK4", False)
    states = random_states(build("gym", 3, "RK4")[0], 48)
    clean = step(*states)
    others = np.arange(48) != 5
    for poison in (np.nan, np.inf):
        states[1][5] = poison
        for before, after in zip(clean, step(*states), strict=True):
            assert not np.isfinite(after[5]).all()
            np.testing.assert_array_equal(after[others], before[others])


@pytest.mark.parametrize("n", [1, 100, 129, 300])
def test_the_fused_engine_takes_any_number_of_environments(n: int) -> None:
    """The blocks it splits a batch into, and nested vmaps, change nothing."""
    model, frame_skip = build("gym", 3, "RK4")
    states = [jnp.asarray(x, jnp.float32) for x in random_states(model, n)]
    engine = FusedSwimmer(model, frame_skip)
    qpos, qvel = jax.jit(jax.vmap(engine.step))(*states)
    last = jax.jit(engine.step)(*(x[-1] for x in states))
    np.testing.assert_allclose(qpos[-1], last[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(qvel[-1], last[1], rtol=1e-4, atol=1e-4)
    if n % 2 == 0:
        nested = jax.jit(jax.vmap(jax.vmap(engine.step)))(*(x.reshape(2, n // 2, -1) for x in states))
        np.testing.assert_allclose(nested[0].reshape(n, -1), qpos, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("links", "integrator"), [(3, "RK4"), (3, "Euler"), pytest.param(5, "RK4", marks=slow)])
def test_the_program_of_a_gpu_computes_what_that_of_a_cpu_does(links: int, integrator: str) -> None:
    """All environments in one kernel a time step, its Runge-Kutta stages written out, and blocks with a loop of stages:
    the same to rounding, each environment with fluid and gears of its own."""
    model, frame_skip = build("gym", links, integrator)
    engine, rng = FusedSwimmer(model, frame_skip), np.random.default_rng(0)
    with jax.enable_x64(True):
        states = [jnp.asarray(x) for x in stable_states(model, 20, frame_skip)]
        factors = jnp.asarray(rng.uniform(0.7, 1.3, (len(states[0]), 2 + model.nu)))
        rows, blocks = (
            jax.jit(functools.partial(way, engine))(*states, factors)
            for way in (batched.step_rows, batched.step_blocks)
        )
        written_out = str(jax.make_jaxpr(functools.partial(batched.step_rows, engine))(*states))
    assert ("optimization_barrier" in written_out) == (integrator == "RK4")
    for a, b, before in zip(rows, blocks, states, strict=False):
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        assert np.abs(a - before).max() > 1e-2  # it moves


def test_the_engine_sees_all_environments_at_once() -> None:
    """Also those of nested vmaps, of which one may not carry the actions."""
    model, frame_skip = build("gym", 3, "RK4")
    qpos, qvel, ctrl = (jnp.asarray(x, jnp.float32) for x in random_states(model, 6))
    nested = jax.vmap(jax.vmap(FusedSwimmer(model, frame_skip).step, in_axes=(0, 0, None)), in_axes=(0, 0, 0))
    arguments = qpos.reshape(2, 3, -1), qvel.reshape(2, 3, -1), ctrl[:2]
    steps = [e for e in jax.make_jaxpr(nested)(*arguments).eqns if e.primitive.name == "fused_step"]
    assert [[x.aval.shape[0] for x in step.invars] for step in steps] == [[6, 6, 6]]
    same = jax.vmap(FusedSwimmer(model, frame_skip).step)(qpos, qvel, jnp.repeat(ctrl[:2], 3, axis=0))
    np.testing.assert_array_equal(nested(*arguments)[0].reshape(6, -1), same[0])


def test_float32_sine_and_cosine() -> None:
    x = np.concatenate([np.linspace(-1e4, 1e4, 100_001), np.linspace(-4, 4, 10_001)]).astype(np.float32)
    sin, cos = sincos(jnp.asarray(x))
    np.testing.assert_allclose(sin, np.sin(x.astype(float)), atol=2e-7)
    np.testing.assert_allclose(cos, np.cos(x.astype(float)), atol=2e-7)


def edited(old: str, new: str, count: int = -1) -> mujoco.MjModel:
    mjcf = swimmer_models.swimmer_mjcf(3, integrator="RK4", timestep=0.01, armature=0.1, gear=150, control=1)
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
        (
            "</actuator>",
            '</actuator><tendon><fixed><joint joint="hinge1" coef="1"/></fixed></tendon>',
            "ntendon",
        ),
        ('<joint name="heading"', '<joint name="heading" limited="true" range="-90 90"', "limits on"),
    ],
)
def test_a_model_it_does_not_cover_is_refused(old: str, new: str, feature: str) -> None:
    with pytest.raises(ValueError, match=rf"env\.engine=fused does not cover .*{feature}.*env\.engine=mjx"):
        FusedSwimmer(edited(old, new), 4)


def test_every_number_comes_from_the_model() -> None:
    """A swimmer unlike ours in every number that may differ: qacc equals MuJoCo's, relative 1e-9."""
    mjcf = swimmer_models.swimmer_mjcf(4, integrator="RK4", timestep=0.007, armature=0.03, gear=40, control=3)
    for old, new in (
        ('density="4000" viscosity="0.1"', 'density="900" viscosity="2.5"'),
        ('fromto="1.5 0 0 .5 0 0" size="0.1" density="1000"', 'fromto="1.2 0 0 .5 0 0" size="0.15" density="700"'),
        ('pos="-1.0 0 0"', 'pos="-0.6 0 0"'),  # the hinge of the third link is nearer
        ('fromto="0 0 0 -1.0 0 0" size="0.1" density="1000"', 'fromto="0.2 0 0 -1.4 0 0" size="0.05" density="2000"'),
        ('range="-100 100"', 'damping="0.8" armature="0.2" range="-30 75" solreflimit="0.03 0.8"'),
        ('joint="hinge2"', 'joint="hinge2" gear="-7" ctrlrange="-0.5 2"'),
    ):
        assert old in mjcf, old
        mjcf = mjcf.replace(old, new, 1)
    model = mujoco.MjModel.from_xml_string(mjcf)
    model.opt.tolerance, model.opt.iterations, model.opt.ls_iterations = 0, 100, 100
    chain, data = read_chain(model), mujoco.MjData(model)
    states = random_states(model, 60)
    for q, v, u in zip(*states, strict=True):
        data.qpos[:], data.qvel[:], data.ctrl[:] = q, v, u
        mujoco.mj_forward(model, data)
        ours = accelerations(chain, list(q), list(v), motor_torques(chain, list(u), np), np)
        assert relative(ours, data.qacc) < 1e-9
    assert FusedSwimmer(model, 3).chain == chain


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
