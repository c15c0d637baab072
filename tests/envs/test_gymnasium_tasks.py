"""The *_v5 tasks beside Gymnasium's own: one step from random states in float64, and starts of the same spread."""

from types import SimpleNamespace
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from sacbrax.bench.parity import compare, engines
from sacbrax.core.errors import ConfigError
from sacbrax.engines import mjx_contacts
from sacbrax.engines.upstream import mjx
from sacbrax.envs import ENVS, make_env
from sacbrax.envs.tasks.gymnasium_base import load_model
from sacbrax.view.episode import GYMNASIUM_IDS

V5 = [name for name, path in ENVS.items() if path.startswith("sacbrax.envs.tasks.gymnasium")]
QUICK = ("inverted_pendulum_v5", "inverted_double_pendulum_v5", "reacher_v5")  # to compile
CASES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in V5]
ENGINES = [
    pytest.param(name, engine, marks=() if engine == "fused" and name in QUICK else pytest.mark.slow)
    for name in V5
    for engine in engines(name)
]


@pytest.mark.parametrize(("name", "engine"), ENGINES)
def test_a_step_equals_gymnasiums(name: str, engine: str) -> None:
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        row = compare(name, 16, engine=engine)
    assert row["ends_differ"] == 0
    assert row["start"] < 1e-12
    # MuJoCo 4.0 integrates free joints a little differently from MJX (docs/environments.md), and contacts are stiff.
    free = engine == "mjx" and name.startswith(("ant", "humanoid"))
    assert row["physics"] < (1e-3 if free else 1e-7)
    assert row["observation"] < (0.5 if free else 1e-6)
    assert row["reward"] < (1e-2 if free else 1e-6)
    if name in ("hopper_v5", "walker2d_v5", "ant_v5", "inverted_pendulum_v5", "inverted_double_pendulum_v5"):
        assert 0 < row["ends"] < 16, "the case needs states that end an episode, and others"


@pytest.mark.parametrize("name", CASES)
def test_starts_have_gymnasiums_spread(name: str) -> None:
    env: Any = make_env(name)
    theirs: Any = gymnasium.make(GYMNASIUM_IDS[name]).unwrapped
    qpos, qvel = [], []
    for seed in range(300):
        theirs.reset(seed=seed)
        qpos.append(theirs.data.qpos.copy())
        qvel.append(theirs.data.qvel.copy())
    ours = jax.jit(jax.vmap(env.start))(jax.random.split(jax.random.key(0), 3000))
    for mine, other in zip(ours, (np.array(qpos), np.array(qvel)), strict=True):
        spread = other.std(axis=0)
        np.testing.assert_allclose(np.asarray(mine).mean(axis=0), other.mean(axis=0), atol=0.3 * spread.max() + 1e-7)
        np.testing.assert_allclose(np.asarray(mine).std(axis=0), spread, rtol=0.25, atol=1e-7)


def test_the_tasks_that_the_fused_engine_covers() -> None:
    covered = {name for name in V5 if engines(name)[0] == "fused"}
    assert covered == {*QUICK, "halfcheetah_v5", "hopper_v5", "walker2d_v5", "ant_v5"}
    with pytest.raises(ValueError, match=r"env\.engine=fused does not cover tendons; use env\.engine=mjx"):
        make_env("humanoid_v5", engine="fused")


def test_caps_of_mjxs_solver_are_refused_elsewhere() -> None:
    with pytest.raises(ValueError, match=r"env\.kwargs: ls_iterations caps MJX's solver; it needs env\.engine=mjx"):
        make_env("hopper_v5", ls_iterations=4)


def test_the_action_range_is_the_actuators() -> None:
    env: Any = make_env("inverted_pendulum_v5")
    np.testing.assert_array_equal(env.model.actuator_ctrlrange, [[-3, 3]])
    np.testing.assert_array_equal(env.ctrl(jnp.array([-1.0, 0.5])), [-3, 1.5])


def test_what_mujoco_thinks_of_their_models_is_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    load_model("half_cheetah.xml")
    assert capfd.readouterr() == ("", "")


CAPSULE_ON_PLANE = """<mujoco><worldbody><geom type="plane" size="1 1 1"/><body pos="0 0 .25"><freejoint/>
<geom type="capsule" size=".1 .2" euler="20 10 70"/></body></worldbody></mujoco>"""


def test_an_mjx_without_a_table_of_contacts_is_refused_for_these_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    table = mjx_contacts._table(SimpleNamespace(_src=SimpleNamespace()))
    assert table is None
    monkeypatch.setattr(mjx_contacts, "TABLE", table)
    with pytest.raises(ConfigError, match=r"^env\.engine: mjx: contacts of capsules with a plane .*mujoco-mjx 3\.17"):
        mjx_contacts.check(mujoco.MjModel.from_xml_string(CAPSULE_ON_PLANE))
    mjx_contacts.check(load_model("swimmer.xml"))  # touches nothing
    with mjx_contacts.mujocos_frames():
        pass


def test_contact_frames_are_mujocos() -> None:
    """A capsule on a plane, nearly upright: MJX's own frame would follow the world's y axis."""
    model: Any = mujoco.MjModel.from_xml_string(CAPSULE_ON_PLANE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mjx_contacts.mujocos_frames():
        ours = jax.jit(lambda d: mjx.collision(put, mjx.kinematics(put, d)))
        put = mjx.put_model(model)
        contact = ours(mjx.make_data(model))._impl.contact
    assert data.ncon == 1
    np.testing.assert_allclose(contact.frame[np.argmin(contact.dist)].ravel(), data.contact[0].frame, atol=1e-6)
    assert abs(data.contact[0].frame[3]) > 0.1, "not the y axis"


def test_gymnasium_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"hopper\.xml: pip install 'sacbrax\[gymnasium\]'"):
        make_env("hopper_v5")
