"""MuJoCo Warp as an engine: by default what needs no Warp; slow, where there is one, its physics beside MuJoCo's."""

import builtins
from itertools import compress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from probes import Cue
from tiny_config import make_tiny

from sacbrax.bench.parity import sample
from sacbrax.config import ConfigError
from sacbrax.engines import warp
from sacbrax.engines.model_fields import arrays_of
from sacbrax.envs import make_env
from sacbrax.envs.randomize import Randomized
from sacbrax.envs.tasks.gymnasium_base import load_model
from sacbrax.envs.vector_env import OVERFLOW, VectorEnv
from sacbrax.run.loop import run


class Doubling(warp.Warp):
    """The engine's own way through `vmap`, with arithmetic that shows which rows came together."""

    def __init__(self) -> None:
        self.sizes = {name: (2,) for name in (*warp.STATE, *warp.DERIVED)} | {"site_xpos": (0, 3)}
        self.batches: list[int] = []

    def many(self, *rows: Any, frames: int, fields: Any, shapes: Any) -> list[Any]:
        self.batches.append(rows[0].shape[0])
        moved = rows[0] + frames * rows[3]
        return [jnp.zeros((len(moved), 0)) if 0 in s else moved for s in self.sizes.values()] + [moved[:, :1]]


def test_any_nest_of_vmaps_is_one_batch_of_worlds() -> None:
    """Seeds and environments alike, arrays that some of them share, and parts of no size."""
    engine, rng = Doubling(), np.random.default_rng(0)
    qpos, qvel, ctrl = rng.normal(size=(3, 4, 2)), rng.normal(size=(4, 2)), rng.normal(size=(3, 2))
    one = jax.vmap(lambda q, v, u: engine._call(5, q, v, v, u, {}), in_axes=(0, 0, None))
    data = jax.jit(jax.vmap(one, in_axes=(0, None, 0)))(*map(jnp.asarray, (qpos, qvel, ctrl)))
    np.testing.assert_allclose(data.qpos, qpos + 5 * ctrl[:, None], rtol=1e-6)
    np.testing.assert_allclose(data.overflow, data.qpos[..., 0])
    assert data.site_xpos.shape == (3, 4, 0, 3)
    assert set(engine.batches) == {12}


def test_the_room_for_constraints() -> None:
    """Four rows for a contact with pyramidal friction, one for each joint with limits."""
    hopper, ant = load_model("hopper.xml"), load_model("ant.xml")
    assert warp.constraints(hopper, 10) == 10 * 4 + 3
    assert warp.constraints(ant, 10) == 10 * 4 + 8


class Crowded:
    """An environment whose contacts have no room in every second step."""

    observation_size = action_size = 1
    backend = "warp"

    def reset(self, key: Any) -> Any:
        from sacbrax.engines.upstream import State

        zero = jnp.zeros(())
        return State(zero, jnp.zeros(1), zero, zero, {OVERFLOW: zero})

    def step(self, state: Any, action: Any) -> Any:
        return state.replace(metrics={OVERFLOW: 1 - state.metrics[OVERFLOW]})

    @property
    def unwrapped(self) -> Any:
        return self


def test_contacts_without_room_are_counted() -> None:
    vector = VectorEnv(Crowded(), 3, 100)
    state, found = vector.reset(jax.random.key(0)), []
    for _ in range(2):
        state, step = vector.step(state, jnp.zeros((3, 1)), jax.random.key(1))
        found.append(int(step.metrics["contact_overflows"]))
    assert found == [3, 0]
    cue = VectorEnv(Cue(), 3, 100)
    _, step = cue.step(cue.reset(jax.random.key(0)), jnp.zeros((3, cue.env.action_size)), jax.random.key(1))
    assert "contact_overflows" not in step.metrics.values, "of engines alone whose room is limited"


def test_where_there_is_no_warp_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "warp":
            raise ImportError("No module named 'warp'")
        return theirs(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in ("swimmer", "hopper_v5"):
        with pytest.raises(ConfigError, match=r"^env\.engine: warp is not installed .* pip install 'sacbrax\[warp\]'$"):
            make_env(name, "warp")


@pytest.mark.parametrize("name", ["hopper", "ant", "probes:Cue"])
def test_tasks_that_warp_does_not_step(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^env\.engine: warp does not step"):
        make_env(name, "warp")


def test_the_room_for_contacts_is_warps_alone() -> None:
    with pytest.raises(ValueError, match=r"^env\.kwargs: contacts caps Warp's buffers; it needs env\.engine=warp$"):
        make_env("hopper_v5", "fused", contacts=4)


@pytest.fixture
def installed() -> None:
    pytest.importorskip("warp", reason="needs pip install 'sacbrax[warp]'")


def compared(engine: Any, model: Any, states: dict[str, np.ndarray], frames: int) -> tuple[Any, list[Any]]:
    """Warp's data and C MuJoCo's after the same steps, two seeds of half the worlds each."""
    rows = [jnp.asarray(states[name], jnp.float32) for name in ("qpos", "qvel", "ctrl")]
    step = jax.jit(jax.vmap(jax.vmap(lambda q, v, u: engine.advance(q, v, jnp.zeros_like(v), u))))
    ours = step(*(x.reshape(2, -1, x.shape[-1]) for x in rows))
    ours = jax.tree.map(lambda x: np.asarray(x).reshape(x.shape[0] * x.shape[1], *x.shape[2:]), ours)
    theirs = []
    for qpos, qvel, ctrl in zip(*map(np.asarray, rows), strict=True):
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:], data.ctrl[:] = qpos, qvel, ctrl
        mujoco.mj_step(model, data, frames)
        mujoco.mj_rnePostConstraint(model, data)
        theirs.append(data)
    return ours, theirs


def states_of(name: str, count: int) -> dict[str, np.ndarray]:
    found = sample(name, count, 0)
    limits = load_model({"ant_v5": "ant.xml", "hopper_v5": "hopper.xml"}[name]).actuator_ctrlrange
    return found | {"ctrl": found["action"] * limits[:, 1]}


def stands_steeply(model: mujoco.MjModel, data: mujoco.MjData) -> bool:
    """Whether a capsule that touches the floor is within 30 degrees of upright."""
    touching = [geom for contact in data.contact for geom in contact.geom]
    capsule = mujoco.mjtGeom.mjGEOM_CAPSULE
    return any(model.geom_type[g] == capsule and abs(data.geom_xmat[g, 8]) > np.sqrt(0.75) for g in touching)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "asset"), [("hopper_v5", "hopper.xml"), ("ant_v5", "ant.xml")])
def test_a_step_is_c_mujocos(name: str, asset: str, installed: None) -> None:
    """Contacts among them, in float32; the room for them suffices. MuJoCo's Runge-Kutta rule turns what floats in
    another way, so the ant's step is Euler's; and Warp's friction has other directions where a capsule stands steeply
    on a plane (docs/environments.md), so these states are left out."""
    model = load_model(asset)
    if name == "ant_v5":
        model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    ours, theirs = compared(warp.Warp(model, 1), model, states_of(name, 8), 1)
    alike = [name != "ant_v5" or not stands_steeply(model, data) for data in theirs]
    ours, theirs = jax.tree.map(lambda x: x[np.array(alike)], ours), list(compress(theirs, alike))
    assert len(theirs) >= 6
    assert any(data.ncon for data in theirs)
    assert (ours.overflow == 0).all()
    for field, near in (("qpos", 1e-5), ("xpos", 1e-5), ("xipos", 1e-5), ("qvel", 2e-3), ("qfrc_actuator", 1e-4)):
        np.testing.assert_allclose(getattr(ours, field), [getattr(d, field) for d in theirs], atol=near, err_msg=field)
    forces = np.array([data.cfrc_ext for data in theirs])
    np.testing.assert_allclose(ours.cfrc_ext, forces, atol=2e-2 * max(1.0, np.abs(forces).max()))


@pytest.mark.slow
def test_contacts_beyond_the_room_are_told(installed: None) -> None:
    model, states = load_model("hopper.xml"), states_of("hopper_v5", 8)
    states["qpos"][:, 1] -= 0.25  # deep in the ground
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    ours, theirs = compared(warp.Warp(model, 1, contacts=1), model, states, 1)
    assert sum(data.ncon for data in theirs) > 8
    assert (ours.overflow > 0).any()


@pytest.mark.slow
def test_caps_and_models_of_each_start(installed: None) -> None:
    """Every world with gravity and masses of its own, as C MuJoCo has it; one iteration is another solution."""
    model, states = load_model("hopper.xml"), states_of("hopper_v5", 4)
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    engine, capped = warp.Warp(model, 1), warp.Warp(model, 1, solver_iterations=1, ls_iterations=1)
    gravity = jnp.array([[0.0, 0.0, -g] for g in (3.0, 6.0, 9.0, 12.0)])
    mass = jnp.asarray(model.body_mass * np.array([[0.5], [1.0], [1.5], [2.0]]), jnp.float32)
    rows = [jnp.asarray(states[name], jnp.float32) for name in ("qpos", "qvel", "ctrl")]
    fields = {"opt.gravity": gravity, "body_mass": mass}
    ours = jax.jit(jax.vmap(lambda q, v, u, f: engine.advance(q, v, jnp.zeros_like(v), u, f)))(*rows, fields)
    for i, (qpos, qvel, ctrl) in enumerate(zip(*map(np.asarray, rows), strict=True)):
        own = load_model("hopper.xml")
        own.opt.gravity[:], own.body_mass[:] = gravity[i], mass[i]
        data = mujoco.MjData(own)
        data.qpos[:], data.qvel[:], data.ctrl[:] = qpos, qvel, ctrl
        mujoco.mj_step(own, data)
        np.testing.assert_allclose(ours.qvel[i], data.qvel, atol=2e-3)
    rows[0] = rows[0].at[:, 1].add(-0.15)  # into the ground, so that there is something to solve
    advance = jax.jit(jax.vmap(lambda q, v, u: capped.advance(q, v, jnp.zeros_like(v), u)))
    exact = jax.jit(jax.vmap(lambda q, v, u: engine.advance(q, v, jnp.zeros_like(v), u)))
    assert np.abs(advance(*rows).qvel - exact(*rows).qvel).max() > 1e-4
    one = next(name for name in arrays_of(engine.model) if not warp._may_differ(name))
    with pytest.raises(
        ValueError, match=r"^env\.randomize: Warp has one .* for all environments; use env\.engine=mjx$"
    ):
        engine._check_fields({one: jnp.zeros(5)})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swimmer", "hopper_v5"])
def test_a_run_of_two_seeds_trains(name: str, installed: None, tmp_path: Path) -> None:
    result = run(make_tiny(f"env.name={name}", "env.engine=warp", "train.num_seeds=2", f"run.dir={tmp_path / 'run'}"))
    last = result.metrics[-1]
    assert np.isfinite(last["eval/return_mean"])
    assert last["train/faults"] == 0
    assert last.get("train/contact_overflows") == (0 if name == "hopper_v5" else None)


@pytest.mark.slow
def test_a_randomized_task(installed: None) -> None:
    def draw(key: Any) -> dict[str, Any]:
        return {"opt.density": jax.random.uniform(key, (), minval=1000.0, maxval=6000.0)}

    env = Randomized(make_env("swimmer", "warp"), draw)
    states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 4))
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), states)
    same = same.replace(
        pipeline_state=same.pipeline_state.replace(fields=states.pipeline_state.fields)  # type: ignore[union-attr]
    )
    after = jax.jit(jax.vmap(env.step))(same, jnp.ones((4, 2)))
    assert len(np.unique(np.asarray(after.obs), axis=0)) == 4
