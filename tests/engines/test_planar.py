"""The fused engine of planar mechanisms against C MuJoCo: Gymnasium's models, made-up trees, refusals."""

import dataclasses
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
from sacbrax.engines.planar.engine import FusedPlanar
from sacbrax.engines.planar.travelling import travelling

MODELS = {
    "half_cheetah": 5,
    "walker2d_v5": 4,
    "hopper": 4,
    "inverted_pendulum": 2,
    "inverted_double_pendulum": 5,
    "reacher": 2,
}
N = 48
slow = pytest.mark.slow


def states(model: mujoco.MjModel, wild: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Positions [N, nq] near the floor where there is one, velocities [N, nv], controls [N, nu] beyond their range."""
    qpos = model.qpos0 + wild * rng.uniform(-0.6, 0.6, (N, model.nq))
    if model.nq > 5:
        qpos[:, 1] = model.qpos0[1] + rng.uniform(-0.6, 0.1, N)
        qpos[:, 2] = wild * rng.uniform(-2, 2, N)
    return qpos, wild * rng.normal(0, 4, (N, model.nv)), rng.uniform(-1.5, 1.5, (N, model.nu))


def eager_step(engine: FusedPlanar, *state: np.ndarray) -> tuple[Any, Any]:
    """As a GPU runs it: rows, without the functions of a CPU, which take long to compile."""
    return jax.jit(functools.partial(engine.steps.integrate, lambda f: f))(*(jnp.asarray(x) for x in state))


@pytest.mark.parametrize(("name", "wild"), [("half_cheetah", 1.0), ("walker2d_v5", 1.0), ("reacher", 1.0)])
def test_an_environment_step_in_float64(name: str, wild: float) -> None:
    model, rng = load(name), np.random.default_rng(0)
    state = states(model, wild, rng)
    qpos, qvel, contacts = mujocos(model, MODELS[name], *state)
    with jax.enable_x64(True):
        ours = eager_step(FusedPlanar(model, MODELS[name]), *state)
    assert name == "reacher" or contacts > 0.5
    np.testing.assert_allclose(ours[0], qpos, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours[1], qvel, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_wild_and_resting_states_in_float64(name: str) -> None:
    model = load(name)
    with jax.enable_x64(True):
        step = jax.jit(functools.partial(FusedPlanar(model, MODELS[name]).steps.integrate, lambda f: f))
        for seed, wild in enumerate((0.01, 0.3, 1.0, 3.0)):
            state = states(model, wild, np.random.default_rng(seed))
            for _ in range(3):  # some of them come to rest on the floor, or bounce off it
                qpos, qvel, _ = mujocos(model, MODELS[name], *state)
                ours = step(*(jnp.asarray(x) for x in state))
                np.testing.assert_allclose(ours[0], qpos, rtol=1e-8, atol=1e-8)
                np.testing.assert_allclose(ours[1], qvel, rtol=1e-8, atol=1e-8 * max(1, np.abs(qvel).max()))
                state = (qpos, qvel, state[2])


@pytest.mark.parametrize(("name", "rail"), [("inverted_double_pendulum", 1.05), ("reacher", 0.1)])
def test_what_is_derived_of_the_last_evaluation(name: str, rail: float) -> None:
    """Of carts beyond the end of their rail, arms within and beyond their range."""
    model, rng = load(name), np.random.default_rng(4)
    qpos, qvel, ctrl = states(model, 1.0, rng)
    qvel[: N // 2] *= 0.1  # these stay there for all the time steps
    qpos[: N // 2, 0] = rail * np.sign(qpos[: N // 2, 0])
    if name == "reacher":
        qpos[: N // 2, 1] = 3.05
    data, expected = mujoco.MjData(model), []
    for q, v, u in zip(qpos, qvel, ctrl, strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = q, v, u
        mujoco.mj_step(model, data, MODELS[name])
        expected.append([np.array(getattr(data, field)) for field in ("qpos", "xpos", "site_xpos", "qfrc_constraint")])
    with jax.enable_x64(True):
        engine, none = FusedPlanar(model, MODELS[name]), jnp.zeros((N, 0))
        found = jax.jit(jax.vmap(engine.advance))(jnp.asarray(qpos), jnp.asarray(qvel), none, jnp.asarray(ctrl))
        begun = jax.jit(jax.vmap(engine.start))(jnp.asarray(qpos), jnp.asarray(qvel))
    pushed = np.abs([x[3] for x in expected]).max(axis=1) > 1e-3
    assert 4 < pushed.sum() < N - 4, "the case needs limits that push, and others"
    for i, field in enumerate(("qpos", "xpos", "site_xpos", "qfrc_constraint")):
        np.testing.assert_allclose(getattr(found, field), [x[i] for x in expected], rtol=1e-8, atol=1e-8)
    data.qpos[:], data.qvel[:], data.ctrl[:] = qpos[0], qvel[0], 0
    mujoco.mj_forward(model, data)
    for field in ("xpos", "site_xpos", "qfrc_constraint"):
        np.testing.assert_allclose(getattr(begun, field)[0], getattr(data, field), rtol=1e-8, atol=1e-8)


def test_blocks_of_a_cpu_compute_the_same_in_float32() -> None:
    """In single precision a step is within 1e-4 of its change, but where a contact begins or slips within rounding."""
    model = load("inverted_pendulum")
    state = tuple(x.astype(np.float32) for x in states(model, 1.0, np.random.default_rng(1)))
    engine = FusedPlanar(model, 2)
    blocks, rows = jax.jit(jax.vmap(engine.step))(*state), eager_step(engine, *state)
    for a, b in zip(blocks, rows, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_a_half_cheetah_in_float32() -> None:
    model = load("half_cheetah")
    state = tuple(x.astype(np.float32) for x in states(model, 1.0, np.random.default_rng(2)))
    _, expected, _ = mujocos(model, 5, *state)
    _, qvel = eager_step(FusedPlanar(model, 5), *state)
    change = np.abs(expected - state[1]).max(axis=1)
    error = np.abs(np.asarray(qvel) - expected).max(axis=1) / change
    assert np.median(error) < 1e-5
    assert np.quantile(error, 0.9) < 1e-4
    assert error.max() < 5e-3  # a row that begins to push within rounding of its kink


ROOT = '<joint name="x" type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/><joint axis="0 1 0"/>'
TRAVELLER = f"""<mujoco><worldbody><geom name="floor" type="plane" size="5 5 1"/><body name="root" pos="0 0 .5">{ROOT}
<geom name="leg" type="capsule" fromto="0 0 0 .4 0 0" size=".05"/></body></worldbody>
<actuator><motor joint="x" gear="3"/></actuator></mujoco>"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", [0]),
        ('axis="0 0 1"/><joint', 'axis="0 0 1"/><joint type="slide" axis="-1 0 0" armature="1"/><joint', [0, 2]),
        ('axis="1 0 0"', 'axis="1 0 0" stiffness="1"', []),
        ('axis="1 0 0"', 'axis="1 0 0" limited="true" range="-1 1"', []),
        ('axis="1 0 0"', 'axis="1 0 .1"', []),
        (ROOT, '<joint axis="0 1 0"/><joint name="x" type="slide" axis="1 0 0"/>', []),
        ('pos="0 0 .5"', 'pos="0 0 .5" euler="0 10 0"', []),
        ("</worldbody>", '<body><joint axis="0 1 0"/><geom size=".1" contype="0"/></body></worldbody>', []),
        ("<worldbody>", '<worldbody><geom type="capsule" fromto="3 0 0 3 0 1" size=".05"/>', []),
    ],
)
def test_what_travels(old: str, new: str, expected: list[int]) -> None:
    """A slide of the root along the floor, if neither a spring nor a limit nor another body knows where it is."""
    xml = TRAVELLER.replace(old, new, 1)
    assert travelling(FusedPlanar(solved(mujoco.MjModel.from_xml_string(xml)), 1).mechanism) == expected


def test_far_away_a_step_is_the_same() -> None:
    """To the bit, forces too; a place that is told is where the body is."""
    model, rng = solved(mujoco.MjModel.from_xml_string(TRAVELLER)), np.random.default_rng(0)
    engine, far = FusedPlanar(model, 3), np.asarray([4096.0, 0.0, 0.0], np.float32)
    qpos = np.stack([np.zeros(N), rng.uniform(-0.5, -0.4, N), rng.uniform(-0.3, 0.3, N)], axis=1).astype(np.float32)
    qvel, ctrl = (rng.normal(size=(N, size)).astype(np.float32) for size in (3, 1))
    step = jax.jit(jax.vmap(engine.advance))
    near, away = (step(x, qvel, jnp.zeros((N, 0)), ctrl) for x in (qpos, qpos + far))
    np.testing.assert_array_equal(away.qvel, near.qvel)
    assert np.abs(near.qvel - qvel).max() > 1, "it hits the floor"
    np.testing.assert_array_equal(away.qfrc_constraint, near.qfrc_constraint)
    np.testing.assert_allclose(away.qpos, np.asarray(near.qpos) + far, atol=1e-3)
    np.testing.assert_allclose(away.xpos[:, 1], np.asarray(near.xpos[:, 1]) + far, atol=1e-3)
    start = jax.jit(jax.vmap(engine.start))
    near, away = (start(x, qvel) for x in (qpos, qpos + far))
    assert np.abs(near.qfrc_constraint).max() > 1
    np.testing.assert_array_equal(away.qfrc_constraint, near.qfrc_constraint)


def tumbling(integrator: str, condims: tuple[int, int], tip: str) -> mujoco.MjModel:
    """Three links that fold onto each other, a floor and a post, all of which may touch; condims of the last link and
    of the others."""
    last, own = (
        f'contype="1" conaffinity="1" condim="{condim}" friction=".7 .1 .1" margin=".01"' for condim in condims
    )
    return solved(
        mujoco.MjModel.from_xml_string(
            f'<mujoco><option timestep=".005" integrator="{integrator}"/><worldbody><geom type="plane" size="5 5 1"/>'
            f'<geom type="capsule" fromto="-.5 0 .1 -.4 0 .5" size=".05" {own}/>'
            '<body pos="0 0 .5"><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>'
            f'<joint axis="0 1 0" armature=".02"/><geom type="capsule" fromto="0 0 0 .4 0 0" size=".05" {own}/>'
            '<body pos=".4 0 0"><joint axis="0 1 0" damping=".3"/>'
            f'<geom type="capsule" fromto="0 0 0 .3 0 0" size=".05" {own}/>'
            f'<body pos=".3 0 0"><joint axis="0 -1 0"/><geom {tip} {last}/></body></body></body></worldbody></mujoco>'
        )
    )


def touching(model: mujoco.MjModel, qpos: np.ndarray) -> int:
    """States in which bodies touch each other."""
    data, found = mujoco.MjData(model), 0
    for q in qpos:
        data.qpos[:] = q
        mujoco.mj_forward(model, data)
        found += any(contact.dist < 0 and 0 not in contact.geom for contact in data.contact)
    return found


def same_step(model: mujoco.MjModel, skip: int, *state: np.ndarray) -> None:
    qpos, qvel, _ = mujocos(model, skip, *state)
    with jax.enable_x64(True):
        ours = eager_step(FusedPlanar(model, skip), *state)
    np.testing.assert_allclose(ours[0], qpos, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours[1], qvel, rtol=1e-9, atol=1e-9 * np.abs(qvel).max())


CAPSULE, SPHERE = 'type="capsule" fromto="0 0 0 .4 0 .1" size=".05"', 'type="sphere" size=".08" pos=".3 0 .1"'


@pytest.mark.parametrize(
    ("integrator", "condims", "tip"),
    [
        ("Euler", (3, 3), CAPSULE),
        ("Euler", (3, 1), CAPSULE),
        pytest.param("RK4", (3, 3), SPHERE, marks=slow),
        pytest.param("RK4", (1, 1), CAPSULE, marks=slow),
    ],
)
def test_bodies_that_touch_each_other(integrator: str, condims: tuple[int, int], tip: str) -> None:
    """With friction, without, and some with, axes that cross among them; the post does not move."""
    model, rng = tumbling(integrator, condims, tip), np.random.default_rng(1)
    qpos = rng.uniform(-2.6, 2.6, (N, model.nq))
    qpos[:, 0], qpos[:, 1] = rng.uniform(-0.8, 0.2, N), rng.uniform(-0.3, 0.3, N)
    assert touching(model, qpos) > N // 3
    same_step(model, 2, qpos, rng.normal(0, 2, (N, model.nv)), np.zeros((N, 0)))


def test_a_block_is_smaller_where_many_bodies_may_touch() -> None:
    """XLA would divide long arrays of contacts among threads, which a block's function cannot do."""
    geom = '<geom type="capsule" fromto="0 0 0 .3 0 0" size=".05"/>'
    links = f'<body pos=".3 0 0"><joint axis="0 1 0"/>{geom}' * 8 + "</body>" * 8
    engine = FusedPlanar(mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{links}</worldbody></mujoco>"), 1)
    assert len(engine.mechanism.pairs) == 21
    assert engine.steps.block == 64
    assert FusedPlanar(load("hopper"), 4).steps.block == 128
    many = dataclasses.replace(engine.mechanism, pairs=engine.mechanism.pairs * 150)  # more than `LONG`
    assert dataclasses.replace(engine.steps, mechanism=many).block == 16


@pytest.mark.parametrize("wild", [1.0, pytest.param(0.01, marks=slow), pytest.param(3.0, marks=slow)])
def test_a_folded_hopper(wild: float) -> None:
    model, rng = load("hopper"), np.random.default_rng(0)
    qpos, qvel, ctrl = states(model, wild, rng)
    qpos[:, 1], qpos[:, 3:5] = rng.uniform(0.5, 1.5, N), rng.uniform(-2.7, -1.5, (N, 2))
    qpos[:, 5] = rng.uniform(-0.8, 0.8, N)
    assert touching(model, qpos) > N // 2
    same_step(model, 4, qpos, qvel, ctrl)


@st.composite
def trees(draw: Any) -> str:
    """The MJCF of a planar tree: up to four bodies, capsules and spheres on a floor, springs, limits, motors."""
    joints: list[str] = []

    def body(depth: int) -> str:
        name = f"b{len(joints)}"
        kind = draw(st.sampled_from(["hinge", "hinge", "slide"])) if depth else "hinge"
        axis = "0 1 0" if kind == "hinge" else draw(st.sampled_from(["1 0 0", "0 0 1", ".6 0 .8"]))
        if kind == "hinge" and draw(st.booleans()):
            axis = "0 -1 0"
        low, high = draw(number(-1.5, -0.1)), draw(number(0.1, 1.5))
        limited = draw(st.sampled_from(["false", "true"]))
        joint = (
            f'<joint name="{name}" type="{kind}" axis="{axis}"'
            f' pos="{draw(number(-0.1, 0.1))} 0 {draw(number(-0.1, 0.1))}"'
            f' limited="{limited}" range="{low} {high}" margin="{draw(st.sampled_from(["0", ".02"]))}"'
            f' stiffness="{draw(st.sampled_from(["0", "5"]))}" damping="{draw(st.sampled_from(["0", ".5"]))}"'
            f' armature="{draw(number(0.01, 1))}" solreflimit=".02 {draw(number(0.5, 1.5))}"/>'
        )
        joints.append(name)
        x, z = draw(number(0.1, 0.5)), draw(number(-0.5, 0.5))
        condim, friction = draw(st.sampled_from([1, 3])), draw(number(0.1, 1.5))
        margin = draw(st.sampled_from(["0", ".01"]))
        contact = f'contype="1" conaffinity="0" condim="{condim}" friction="{friction} .1 .1" margin="{margin}"'
        geom = (
            f'<geom type="capsule" fromto="0 0 0 {x} 0 {z}" size=".05" {contact}/>'
            if draw(st.booleans())
            else f'<geom type="sphere" size=".1" pos="{x} 0 {z}" {contact}/>'
        )
        more = "".join(body(depth + 1) for _ in range(draw(st.integers(0, 2))) if len(joints) < 4)
        turned = f' euler="0 {draw(st.sampled_from([0, 0.5]))} 0"'
        return f'<body pos="{x if depth else 0} 0 {z if depth else 0.4}"{turned}>{joint}{geom}{more}</body>'

    inner = body(0)
    root = '<body pos="0 0 .3"><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>'
    root += '<geom type="sphere" size=".08" contype="1" conaffinity="0"/>' + inner + "</body>"
    motors = "".join(f'<motor joint="{name}" gear="{draw(number(1, 20))}" ctrlrange="-1 1"/>' for name in joints)
    integrator = draw(st.sampled_from(["Euler", "RK4"]))
    return (
        f'<mujoco><compiler angle="radian"/><option timestep=".005" integrator="{integrator}"/><worldbody>'
        f'<geom type="plane" size="5 5 1" condim="{draw(st.sampled_from([1, 3]))}"/>{root}</worldbody>'
        f"<actuator>{motors}</actuator></mujoco>"
    )


def compare(xml: str, seed: int) -> None:
    model = solved(mujoco.MjModel.from_xml_string(xml))
    rng = np.random.default_rng(seed)
    state = tuple(rng.uniform(-x, x, (N, n)) for x, n in ((0.8, model.nq), (3, model.nv), (1.5, model.nu)))
    qpos, qvel, _ = mujocos(model, 2, *state)
    with jax.enable_x64(True):
        ours = eager_step(FusedPlanar(model, 2), *state)
    size = max(1.0, np.abs(qvel).max())
    np.testing.assert_allclose(ours[0], qpos, rtol=1e-8, atol=1e-9 * size)
    np.testing.assert_allclose(ours[1], qvel, rtol=1e-8, atol=1e-8 * size)


@settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(trees(), st.integers(0, 2**16))
def test_made_up_trees(xml: str, seed: int) -> None:
    compare(xml, seed)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, database=None, phases=[Phase.generate])
@given(trees(), st.integers(0, 2**16))
def test_many_made_up_trees(xml: str, seed: int) -> None:
    compare(xml, seed)


@pytest.mark.parametrize("flag", ["eulerdamp", "contact", "constraint"])
def test_what_a_model_leaves_out(flag: str) -> None:
    """As DM Control's: damping that is not implicit, no contacts, no constraints at all."""
    option = f'<option timestep=".01"><flag {flag}="disable"/></option>'
    xml = PLAIN.replace("<worldbody>", f"{option}<worldbody>").replace('"0 1 0"', '"0 1 0" damping=".4" range="-40 40"')
    model, rng = solved(mujoco.MjModel.from_xml_string(xml)), np.random.default_rng(0)
    model.body_pos[1, 2] = 0.1  # m above the floor, which the tip may reach
    state = rng.uniform(-1.5, 1.5, (N, 1)), rng.normal(0, 4, (N, 1)), np.zeros((N, 0))
    same_step(model, 3, *state)
    whole = mujoco.MjModel.from_xml_string(xml.replace(option, option.replace("disable", "enable")))
    whole.body_pos[1, 2] = 0.1
    other = mujocos(solved(whole), 3, *state)[0]
    assert np.abs(mujocos(model, 3, *state)[0] - other).max() > 1e-3, "the flag matters here"


PLAIN = """<mujoco><worldbody><geom type="plane" size="5 5 1"/>
<body pos="0 0 1"><joint type="hinge" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".05"/></body>
</worldbody></mujoco>"""


@pytest.mark.parametrize(
    ("old", "new", "feature"),
    [
        ('axis="0 1 0"/>', 'axis="0 1 0" frictionloss=".1"/>', "dof_frictionloss"),
        ('type="hinge" axis="0 1 0"', 'type="ball"', "the ball joint"),
        ('type="capsule" fromto="0 0 0 .3 0 0" size=".05"', 'type="box" size=".1 .1 .1"', "no capsule or sphere"),
        ('fromto="0 0 0 .3 0 0"', 'fromto="0 0 0 .3 .2 0"', "does not lie in the plane"),
        ('size="5 5 1"', 'size="5 5 1" euler="0 10 0"', "not level"),
        ('size="5 5 1"', 'size="5 5 1" condim="4"', "condim 4"),
        ("<worldbody>", '<option integrator="implicit"/><worldbody>', "integrator"),
        ("<worldbody>", '<option cone="elliptic"/><worldbody>', "elliptic"),
        ("<worldbody>", '<option><flag limit="disable"/></option><worldbody>', "option flags"),
        (
            "</worldbody>",
            '<body pos="1 .1 1"><joint type="hinge" axis="0 1 0"/><geom type="sphere" size=".1"/></body></worldbody>',
            "across the plane",
        ),
        ("</worldbody>", '<body mocap="true"/></worldbody>', "mocap bodies"),
        ('size="5 5 1"', 'size="5 5 1" surfacevel="1 0 0 0 0 0"', "geom_surfacevel"),
        ('axis="0 1 0"/>', 'axis="0 1 0" stiffness="9" springyield=".1"/>', "springs that yield"),
        (
            "</worldbody>",
            '</worldbody><actuator><motor joint="j" delay=".02" nsample="10"/></actuator>',
            "delays",
        ),
        ("</worldbody>", '</worldbody><contact><pair geom1="a" geom2="b"/></contact>', "explicit contact pairs"),
    ],
)
def test_what_is_not_covered_is_refused_by_name(old: str, new: str, feature: str) -> None:
    xml = PLAIN.replace(old, new).replace("<joint", '<joint name="j"', 1)
    if "<pair" in new:
        xml = xml.replace('<geom type="plane"', '<geom name="a" type="plane"')
        xml = xml.replace('<geom type="capsule"', '<geom name="b" type="capsule"')
    assert xml != PLAIN
    with pytest.raises(ValueError, match=rf"env\.engine=fused does not cover .*({feature}).*env\.engine=mjx"):
        fused(mujoco.MjModel.from_xml_string(xml), 2)


def test_bodies_that_others_place_are_covered_where_nothing_touches_them() -> None:
    xml = PLAIN.replace("</worldbody>", '<body mocap="true"/></worldbody>')
    with pytest.raises(ValueError, match="mocap bodies"):
        FusedPlanar(mujoco.MjModel.from_xml_string(xml), 2, placed_bodies=True)
    free = xml.replace("<worldbody>", '<option><flag contact="disable"/></option><worldbody>')
    FusedPlanar(mujoco.MjModel.from_xml_string(free), 2, placed_bodies=True)
    with pytest.raises(ValueError, match="mocap bodies"):
        FusedPlanar(mujoco.MjModel.from_xml_string(free), 2)


def test_what_is_left_of_the_plain_model_is_covered() -> None:
    assert isinstance(fused(mujoco.MjModel.from_xml_string(PLAIN), 2), FusedPlanar)
