"""The fused engine of trees in space against C MuJoCo: the ant, made-up trees, refusals."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from mujocos_own import load, mujocos, number, solved

from sacbrax.engines.fused import fused
from sacbrax.engines.space.acceleration import Layout, evaluate, motor_forces, unknown
from sacbrax.engines.space.engine import FusedSpace
from sacbrax.xla.compiler_options import quick

N = 48
SKIP = 5
slow = pytest.mark.slow


def compiled(f: Any) -> Any:
    """Quick to compile, for programs that run once."""
    return jax.jit(f, compiler_options=quick())


def eager_step(engine: FusedSpace, *state: np.ndarray) -> tuple[Any, Any]:
    """As a GPU runs it: rows, without the functions of a CPU."""
    step = compiled(functools.partial(engine.steps.integrate, lambda f: f))
    return step(*(jnp.asarray(x) for x in state))


def states(model: mujoco.MjModel, wild: float, rng: np.random.Generator, low: float = -0.1) -> tuple[np.ndarray, ...]:
    """Positions near the floor, joints within and beyond their ranges, orientations that are not of length 1."""
    free = model.jnt_type[0] == int(mujoco.mjtJoint.mjJNT_FREE)
    qpos = model.qpos0 + wild * rng.uniform(-1, 1, (N, model.nq))
    if free:
        qpos[:, 2] = rng.uniform(low, 0.9, N)
        qpos[:, 3:7] = model.qpos0[3:7] + wild * rng.normal(size=(N, 4))
    return qpos, wild * rng.normal(0, 4, (N, model.nv)), rng.uniform(-1.5, 1.5, (N, model.nu))


def same_step(model: mujoco.MjModel, skip: int, *state: np.ndarray) -> None:
    qpos, qvel, _ = mujocos(model, skip, *state)
    with jax.enable_x64(True):
        ours = eager_step(FusedSpace(model, skip), *state)
    size = max(1.0, np.abs(qvel).max())
    np.testing.assert_allclose(ours[0], qpos, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours[1], qvel, rtol=1e-9, atol=1e-9 * size)


def small(integrator: str, condim: int) -> mujoco.MjModel:
    """A floating ball with a leg of a slide and a hinge, which has a limit."""
    return solved(
        mujoco.MjModel.from_xml_string(
            f'<mujoco><compiler angle="radian"/><option timestep=".005" integrator="{integrator}"/><default>'
            f'<geom conaffinity="0" condim="{condim}" friction=".7 .1 .1" margin=".01"/></default><worldbody>'
            '<geom type="plane" size="5 5 1" conaffinity="1" condim="1"/><body pos="0 0 .5"><freejoint/>'
            '<geom type="sphere" size=".1" condim="1"/><geom type="capsule" fromto="0 0 0 .1 .2 0" size=".04"/>'
            '<body pos=".1 .2 .1"><joint type="slide" axis="1 2 0" damping=".5" armature=".1"/>'
            '<joint name="knee" axis="1 0 1" range="-.5 .5" limited="true" margin=".02" stiffness="2" damping=".3"/>'
            '<geom type="capsule" fromto="0 0 0 .3 0 -.2" size=".05"/></body></body></worldbody><actuator>'
            '<motor joint="knee" gear="3" ctrlrange="-1 1"/></actuator></mujoco>'
        )
    )


@slow
@pytest.mark.parametrize(("integrator", "condim"), [("RK4", 3), ("Euler", 1), ("Euler", 3)])
def test_an_environment_step_in_float64(integrator: str, condim: int) -> None:
    model = small(integrator, condim)
    state = states(model, 1.0, np.random.default_rng(0))
    assert mujocos(model, 1, *state)[2] > 0.5
    same_step(model, 2, *state)


def test_a_step_of_the_ant_from_each_stage() -> None:
    """Contacts found, accelerations and constraint forces of the ant in float64, without a time step."""
    model, rng = load("ant"), np.random.default_rng(1)
    qpos, qvel, ctrl = states(model, 0.7, rng)
    engine = FusedSpace(model, SKIP)
    layout = Layout(engine.mechanism)

    def accelerations(qpos: Any, qvel: Any, ctrl: Any) -> Any:
        q, v = layout.positions(qpos), layout.velocities(qvel)
        forces, guess = motor_forces(engine.mechanism, ctrl), unknown(engine.mechanism, q[0])
        found = evaluate(engine.mechanism, q, v, forces, guess, 0.0)
        touches, (at_points, at_joints) = found.rows.touches, found.rows.forces(found.residuals)
        return layout.qvel(found.moving), touches.stiffness > 0, touches.point, at_points, at_joints

    with jax.enable_x64(True):
        found = compiled(accelerations)(*(jnp.asarray(x) for x in (qpos, qvel, ctrl)))
        qacc, on, point, force, limits = jax.device_get(found)
    data, touching = mujoco.MjData(model), 0
    for i in range(N):
        data.qpos[:], data.qvel[:], data.ctrl[:] = qpos[i], qvel[i], ctrl[i]
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(qacc[i], data.qacc, rtol=1e-9, atol=1e-9 * np.abs(data.qacc).max())
        assert int(on[:, i].sum()) == data.ncon
        touching += data.ncon > 4
        places = np.array([point[0][:, i] + qpos[i, 0], point[1][:, i] + qpos[i, 1], point[2][:, i] + qpos[i, 2]])
        ours = {tuple(np.round(p, 7) + 0.0) for p in places[:, on[:, i]].T}
        assert ours == {tuple(np.round(contact.pos, 7) + 0.0) for contact in data.contact}
        up = 0.0
        for c in range(data.ncon):
            wrench = np.zeros(6)
            mujoco.mj_contactForce(model, data, c, wrench)
            up += wrench[0]
        np.testing.assert_allclose(force[2][:, i].sum(), up, rtol=1e-9, atol=1e-7)
        at_limits = [x for x, kind in zip(data.efc_force, data.efc_type, strict=True) if kind == 3]
        np.testing.assert_allclose(np.abs(limits[:, i]).sum(), np.sum(at_limits), rtol=1e-9, atol=1e-7)
    assert touching > N // 4


@slow
@pytest.mark.parametrize("wild", [0.01, 0.3, 1.0, 3.0])
def test_the_ant_in_wild_and_resting_states_in_float64(wild: float) -> None:
    model = load("ant")
    with jax.enable_x64(True):
        step = compiled(functools.partial(FusedSpace(model, SKIP).steps.integrate, lambda f: f))
        state = states(model, wild, np.random.default_rng(round(100 * wild)))
        for _ in range(4):  # some of them come to rest on the floor, or bounce off it
            qpos, qvel, _ = mujocos(model, SKIP, *state)
            ours = step(*(jnp.asarray(x) for x in state))
            np.testing.assert_allclose(ours[0], qpos, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(ours[1], qvel, rtol=1e-9, atol=1e-9 * max(1, np.abs(qvel).max()))
            state = (qpos, qvel, state[2])


@slow
def test_the_ant_in_float32() -> None:
    """Within 1e-4 of a step's change."""
    model = load("ant")
    state = tuple(x.astype(np.float32) for x in states(model, 0.3, np.random.default_rng(2)))
    _, expected, _ = mujocos(model, SKIP, *state)
    engine = FusedSpace(model, SKIP)
    change = np.abs(expected - state[1]).max(axis=1)
    for qvel in (eager_step(engine, *state)[1], jax.jit(jax.vmap(engine.step))(*state)[1]):
        error = np.abs(np.asarray(qvel) - expected).max(axis=1) / change
        assert error.max() < 1e-4


def test_what_is_derived_of_the_last_evaluation() -> None:
    """The state after some time steps; places and the contacts' forces on bodies, where Gymnasium reads them."""
    model = small("RK4", 3)
    qpos, qvel, ctrl = states(model, 0.5, np.random.default_rng(4))
    data, expected = mujoco.MjData(model), []
    for q, v, u in zip(qpos, qvel, ctrl, strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = q, v, u
        mujoco.mj_step(model, data, 3)
        mujoco.mj_rnePostConstraint(model, data)
        expected.append([np.array(getattr(data, field)) for field in ("qpos", "qvel", "xpos", "cfrc_ext")])
    with jax.enable_x64(True):
        engine, none = FusedSpace(model, 3), jnp.zeros((N, 0))
        found = compiled(jax.vmap(engine.advance))(jnp.asarray(qpos), jnp.asarray(qvel), none, jnp.asarray(ctrl))
        begun = compiled(jax.vmap(engine.start))(jnp.asarray(qpos), jnp.asarray(qvel))
    assert 4 < sum(np.abs(x[3]).max() > 1e-3 for x in expected) < N - 4, (
        "the case needs bodies on the floor, and others"
    )
    for i, field in enumerate(("qpos", "qvel", "xpos", "cfrc_ext")):
        theirs = np.array([x[i] for x in expected])
        np.testing.assert_allclose(getattr(found, field), theirs, rtol=1e-9, atol=1e-9 * max(1, np.abs(theirs).max()))
    data.qpos[:], data.qvel[:] = qpos[0], qvel[0]
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(begun.xpos[0], data.xpos, rtol=1e-9, atol=1e-9)
    assert not np.asarray(begun.cfrc_ext).any()


@st.composite
def trees(draw: Any) -> str:
    """The MJCF of a tree in space: up to five bodies, of which the first may float, on a floor."""
    joints: list[str] = []
    free = draw(st.booleans())

    def direction() -> str:
        return f"{draw(number(-1, 1))} {draw(number(-1, 1))} {draw(st.sampled_from([0.3, 1, -1]))}"

    def joint(kind: str) -> str:
        name = f"j{len(joints)}"
        joints.append(name)
        low, high = draw(number(-1.5, -0.1)), draw(number(0.1, 1.5))
        return (
            f'<joint name="{name}" type="{kind}" axis="{direction()}"'
            f' pos="{draw(number(-0.1, 0.1))} 0 {draw(number(-0.1, 0.1))}" range="{low} {high}"'
            f' limited="{draw(st.sampled_from(["false", "true"]))}" margin="{draw(st.sampled_from(["0", ".02"]))}"'
            f' stiffness="{draw(st.sampled_from(["0", "5"]))}" damping="{draw(st.sampled_from(["0", ".5"]))}"'
            f' armature="{draw(number(0.01, 1))}" solreflimit=".02 {draw(number(0.5, 1.5))}"/>'
        )

    def body(depth: int) -> str:
        floats = free and not depth
        kinds = [] if floats else draw(st.sampled_from([["hinge"], ["slide"], ["hinge", "hinge"], []]))
        if not depth and not floats:
            kinds = kinds or ["hinge"]
        own = "<freejoint/>" if floats else "".join(joint(kind) for kind in kinds)
        x, y, z = draw(number(0.1, 0.4)), draw(number(-0.3, 0.3)), draw(number(-0.5, 0.5))
        contact = (
            f'contype="1" conaffinity="0" condim="{draw(st.sampled_from([1, 3]))}"'
            f' friction="{draw(number(0.1, 1.5))} .1 .1" margin="{draw(st.sampled_from(["0", ".01"]))}"'
        )
        geom = (
            f'<geom type="capsule" fromto="0 0 0 {x} {y} {z}" size=".05" {contact}/>'
            if draw(st.booleans())
            else f'<geom type="sphere" size=".1" pos="{x} {y} {z}" {contact}/>'
        )
        more = "".join(body(depth + 1) for _ in range(draw(st.integers(0, 2))) if len(joints) < 4 and depth < 3)
        turned = f' euler="{draw(number(-1, 1))} 0 {draw(number(-1, 1))}"'
        place = f"{x} {y} {z}" if depth else "0 0 0.4"
        return f'<body pos="{place}"{turned}>{own}{geom}{more}</body>'

    inner = body(0)
    motors = "".join(f'<motor joint="{name}" gear="{draw(number(1, 20))}" ctrlrange="-1 1"/>' for name in joints)
    return (
        '<mujoco><compiler angle="radian"/><option timestep=".005"'
        f' integrator="{draw(st.sampled_from(["Euler", "RK4"]))}"/><worldbody>'
        f'<geom type="plane" size="5 5 1" condim="{draw(st.sampled_from([1, 3]))}"/>{inner}</worldbody>'
        f"<actuator>{motors}</actuator></mujoco>"
    )


def compare(xml: str, seed: int) -> None:
    model = solved(mujoco.MjModel.from_xml_string(xml))
    same_step(model, 2, *states(model, 0.7, np.random.default_rng(seed), low=0.0))


@slow
@settings(max_examples=40, deadline=None, database=None, phases=[Phase.generate])
@given(trees(), st.integers(0, 2**16))
def test_many_made_up_trees(xml: str, seed: int) -> None:
    compare(xml, seed)


PLAIN = """<mujoco><worldbody><geom type="plane" size="5 5 1"/>
<body pos="0 0 1"><freejoint/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".05"/>
<body><joint axis="0 1 1"/><geom type="sphere" size=".1" conaffinity="0"/></body></body></worldbody></mujoco>"""


@pytest.mark.parametrize(
    ("old", "new", "feature"),
    [
        ('axis="0 1 1"/>', 'axis="0 1 1" frictionloss=".1"/>', "dof_frictionloss"),
        ('<joint axis="0 1 1"', '<joint type="ball"', "the ball joint"),
        ('type="sphere" size=".1"', 'type="box" size=".1 .1 .1"', "no capsule or sphere"),
        ('size="5 5 1"', 'size="5 5 1" euler="0 10 0"', "not level"),
        ('size="5 5 1"', 'size="5 5 1" condim="4"', "condim 4"),
        ('size="5 5 1"', 'size="5 5 1" surfacevel="1 0 0 0 0 0"', "geom_surfacevel"),
        ("<freejoint/>", '<joint type="free" armature="1"/>', "of a free joint"),
        ("<worldbody>", '<option integrator="implicit"/><worldbody>', "integrator"),
        ("<worldbody>", '<option noslip_iterations="2"/><worldbody>', "noslip"),
        ("</worldbody>", '<body pos="3 0 1"><geom size=".1"/></body></worldbody>', "beside the floating one"),
        ("</body></body>", '</body><body><joint/><geom size=".1"/></body></body>', "neither of which is the floor"),
        (
            "</worldbody>",
            '</worldbody><tendon><fixed name="t"><joint joint="j" coef="1"/></fixed></tendon>',
            "tendons",
        ),
    ],
)
def test_what_is_not_covered_is_refused_by_name(old: str, new: str, feature: str) -> None:
    xml = PLAIN.replace(old, new)
    if "tendon" in new:
        xml = xml.replace("<joint axis", '<joint name="j" axis')
    assert xml != PLAIN
    with pytest.raises(ValueError, match=rf"env\.engine=fused does not cover .*({feature}).*env\.engine=mjx"):
        fused(mujoco.MjModel.from_xml_string(xml), 2)


def test_what_is_left_of_the_plain_model_is_covered() -> None:
    assert isinstance(fused(mujoco.MjModel.from_xml_string(PLAIN), 2), FusedSpace)


def test_a_hinge_out_of_the_plane_of_the_others_is_in_space() -> None:
    xml = """<mujoco><worldbody><body><joint axis="0 1 0"/><geom size=".1"/><body pos=".3 0 0"><joint axis="0 1 .1"/>
    <geom size=".1" contype="0" conaffinity="0"/></body></body></worldbody></mujoco>"""
    assert isinstance(fused(mujoco.MjModel.from_xml_string(xml), 2), FusedSpace)
    assert not isinstance(fused(mujoco.MjModel.from_xml_string(xml.replace(" .1", " 0")), 2), FusedSpace)
