"""MuJoCo Playground's tasks: our adapter on a fake of the package, and (slow, where there is one) on the real one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_playground
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import keystr, tree_leaves_with_path
from tiny_config import make_tiny

import sacbrax
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import ConfigError
from sacbrax.engines.upstream import as_brax_needs
from sacbrax.envs import make_env
from sacbrax.envs.vector_env import VectorEnv
from sacbrax.export import export_onnx
from sacbrax.policy_file.numpy_policy import NumpyPolicy
from sacbrax.run.loop import run
from sacbrax.training.trainer import Trainer
from sacbrax.view.evaluation import evaluate_engine

TASK = "env.name=playground:Count"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_playground.install(monkeypatch)


def test_a_step_is_playgrounds_own_and_changes_nothing_it_was_given(fake: None) -> None:
    env, own = make_env("playground:Count", ctrl_dt=0.25), fake_playground.Count({})
    assert env.unwrapped.env.overrides == {"impl": "jax", "ctrl_dt": 0.25}  # type: ignore[attr-defined]
    assert (env.observation_size, env.action_size, env.backend) == (5, 1, "mjx")
    state, expected = jax.jit(env.reset)(jax.random.key(7)), own.reset(jax.random.key(7))
    for action in (0.5, -0.25):
        before = jax.tree.map(str, state)
        after = env.step(state, jnp.full(1, action))
        assert jax.tree.map(str, state) == before
        assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)
        expected = own.step(expected, jnp.full(1, action))
        assert state.pipeline_state.arrays.keys() == {"qpos"}  # type: ignore[union-attr]
        seen = jnp.concatenate([expected.obs["state"], expected.obs["privileged_state"].ravel()])
        np.testing.assert_array_equal(after.obs, seen)
        assert (float(after.reward), float(after.metrics["paid"])) == (action, action)
        state = after


def test_resets_are_fresh_and_the_last_observation_is_the_true_one(fake: None) -> None:
    """With a pool of a single start every start is alike, and what comes after is not: its random numbers are new."""
    env = make_env("playground:Count")
    assert VectorEnv(env, 2, 9).reset_pool == 1024
    for pool in (0, 1):
        vector = VectorEnv(env, 4, 9, reset_pool=pool)
        state = jax.jit(vector.reset)(jax.random.key(0))
        step, last, starts, drawn = jax.jit(vector.step), [], [], []
        for i in range(9):
            state, out = step(state, jnp.ones((4, 1)), jax.random.key(i))
            ended = np.asarray(out.transition.discount == 0)
            last += [out.transition.next_observation[ended]]
            starts += [state.state.obs[ended]]
            drawn += [out.transition.next_observation[~ended, 2]]
        ends, begins = np.concatenate(last), np.concatenate(starts)
        assert len(ends) == 4 * 3
        np.testing.assert_array_equal(ends[:, 0], fake_playground.LAST)
        np.testing.assert_array_equal(begins[:, 0], 0.0)
        assert len(np.unique(begins[:, 1])) == (1 if pool else 12)
        numbers = np.concatenate([ends[:, 2], *drawn])
        assert len(np.unique(numbers)) == len(numbers) == 4 * 9


@pytest.mark.parametrize(
    "kind", ["gaussian", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("gmm", "latent"))]
)
def test_the_policy_is_blind_to_what_is_privileged_and_the_critics_are_not(kind: str) -> None:
    config = make_tiny(f"policy.kind={kind}")
    agent = make_agent(config, 5, 2, actor_inputs=3)
    state = jax.jit(agent.init)(jax.random.key(0), make_hyper(config, 2))
    one = jnp.ones((4, 5))
    other = one.at[:, 3:].set(-2.0)
    seen = one.at[:, 2].set(-2.0)
    params, action = state.params, jnp.zeros((4, 2))
    for function in (
        lambda x: agent.act(state, x, jax.random.key(1)),
        lambda x: agent.policy.log_prob(params["actor"], x, action),
        lambda x: agent.policy.candidates(params["actor"], x),
    ):
        np.testing.assert_array_equal(function(one), function(other))
        assert np.any(np.asarray(function(one)) != np.asarray(function(seen)))
    values = [np.asarray(agent.critics(params["critic"], x, action)) for x in (one, other)]
    assert np.all(values[0] != values[1])


def trained(directory: Path, *overrides: str) -> NumpyPolicy:
    result = run(make_tiny(TASK, "env.reset_pool=16", f"run.dir={directory}", *overrides), quiet=True)
    assert result.metrics[-1]["train/faults"] == 0
    return sacbrax.load_policy(directory)


def test_a_run_with_a_privileged_critic(fake: None, tmp_path: Path) -> None:
    """The policy that comes out needs no more than it saw."""
    policy = trained(tmp_path)
    assert policy.arrays["kernel_0"].shape[0] == 2, "of five"
    assert policy.arrays["critic_kernel_0"].shape[1] == 5 + 1
    whole = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    np.testing.assert_array_equal(policy(whole), policy(whole[:, :2]))
    assert policy.sample(whole[:, :2], np.random.default_rng(0)).shape == (6, 1)
    assert policy.q(whole, np.zeros((6, 1))).shape == (2, 6)
    with pytest.raises(ValueError, match="expected observations of size 5"):
        policy.q(whole[:, :2], np.zeros((6, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "gmm", "latent"])
def test_its_policy_file_everywhere(kind: str, fake: None, tmp_path: Path) -> None:
    policy = trained(tmp_path, f"policy.kind={kind}", "policy.components=2", "policy.candidates=3")
    if kind != "gaussian":  # the critics choose among its candidates
        with pytest.raises(ValueError, match="expected observations of size 5"):
            policy(np.zeros(2))
    engine, found = evaluate_engine(policy, None, 2, 0)
    assert (engine, found["length"].tolist()) == ("mjx", [fake_playground.LAST] * 2)
    assert export_onnx(policy, tmp_path / "policy.onnx") < 1e-5


def test_any_task_may_observe_a_dictionary_of_two() -> None:
    trainer = Trainer(make_tiny("env.name=probes:Several", "env.action_repeat=2", "policy.action_gain=1.2"))
    assert (trainer.actor_inputs, trainer.observation_size) == (2, 5)
    state = jax.eval_shape(trainer.init, jax.random.key(0), trainer.hyper())
    assert jax.tree.leaves(state.agent.params["actor"])[1].shape[0] == 2
    with pytest.raises(ConfigError, match=r"^env\.name: the task observes pixels, state; covered are one array, or"):
        Trainer(make_tiny("env.name=probes:Pixels"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["env.name=playground:Run"], "env.name: playground has no 'Run'; choose from Count"),
        ([TASK, "env.kwargs={impl: c}"], "env.kwargs: impl: unknown 'c'; choose from jax, warp"),
        (
            [TASK, "env.kwargs={dt: 1}"],
            "env.kwargs: dt: unknown for playground:Count; choose from ctrl_dt, fetch, noise",
        ),
        ([TASK, "env.kwargs={episode_length: 9}"], "env.kwargs: episode_length: set env.episode_length instead"),
        ([TASK, "env.kwargs={fetch: network}"], "env.name: playground:Count cannot be made: cannot reach the files"),
        (
            [TASK, "env.engine=fused"],
            "env.engine: fused does not cover playground:Count; choose mjx, or of AcrobotSwingup",
        ),
        ([TASK, "env.kwargs={engine: fused}"], "env.kwargs: engine: set env.engine instead"),
        (
            [TASK, "env.randomize=probes:fluids"],
            "env.randomize: the model has no array opt.density; choose from its 2, such as opt.gravity",
        ),
    ],
)
def test_mistakes_are_one_clear_line(overrides: list[str], message: str, fake: None) -> None:
    with pytest.raises(ConfigError) as error:
        Trainer(make_tiny(*overrides))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


GET = (
    "get them: git clone https://github.com/google-deepmind/mujoco_menagerie {0} && git -C {0} checkout 5ha && export "
)
GET += "SACBRAX_MENAGERIE={0}"


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            "no git",
            "it needs the files of MuJoCo Menagerie, and fetching them failed (No such file or directory: git); ",
        ),
        ("clone", "it needs the files of MuJoCo Menagerie, and fetching them failed (Command '['git', 'clone']' "),
        ("mesh", "Error: Error opening file 'trunk.stl'; the robots' files are looked for in /installed/mujoco_mena"),
    ],
)
def test_robots_files_that_are_missing_are_one_line_with_what_gets_them(failure: str, said: str, fake: None) -> None:
    with pytest.raises(ConfigError) as error:
        Trainer(make_tiny(TASK, f"env.kwargs={{fetch: {failure}}}"))
    assert str(error.value).startswith(f"env.name: playground:Count cannot be made: {said}")
    assert str(error.value).endswith(GET.format("mujoco_menagerie"))


def test_robots_files_are_where_the_user_says(fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACBRAX_MENAGERIE", str(tmp_path))
    make_env("playground:Count")
    playgrounds: Any = sys.modules["mujoco_playground._src.mjx_env"]
    assert str(playgrounds.MENAGERIE_PATH) == str(tmp_path)
    monkeypatch.setenv("SACBRAX_MENAGERIE", f"{tmp_path}/none")
    with pytest.raises(ConfigError) as error:
        Trainer(make_tiny(TASK))
    none = f"{tmp_path}/none"
    assert str(error.value) == f"SACBRAX_MENAGERIE: {none} is no folder; {GET.format(none)}"
    fakes: Any = sys.modules["mujoco_playground"]
    monkeypatch.setattr(fakes.dm_control_suite, "ALL_ENVS", ("Count",))  # which have files of their own
    make_env("playground:Count")


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco_playground", None)
    with pytest.raises(ConfigError, match=r"^env\.name: MuJoCo Playground is not installed; pip install"):
        Trainer(make_tiny("env.name=playground:CartpoleBalance"))


def real() -> Any:
    from sacbrax.engines.upstream import quiet

    with quiet():
        return pytest.importorskip("mujoco_playground", reason="needs pip install 'sacbrax[playground]'")


@pytest.mark.slow
def test_a_real_task_is_the_same_on_warp() -> None:
    """Two seeds of four environments, resets among the steps; and what found no room in Warp's buffers is counted."""
    real()
    pytest.importorskip("warp", reason="needs pip install 'sacbrax[warp]'")
    actions = np.random.default_rng(0).uniform(-1, 1, (2, 6, 4, 1)).astype(np.float32)
    seen = []
    for engine in ("mjx", "warp"):
        vector = VectorEnv(make_env("playground:CartpoleBalance", engine), 4, 12, reset_pool=0)

        def body(state: Any, action: Any, vector: VectorEnv = vector) -> Any:
            state, step = vector.step(state, action, jax.random.key(1))
            return state, (step.transition.next_observation, step.transition.reward, step.metrics.values)

        def episode(key: Any, actions: Any, vector: VectorEnv = vector, body: Any = body) -> Any:
            return jax.lax.scan(body, vector.reset(key), actions)[1]

        seen.append(jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 2), actions))
    (theirs, their_rewards, _), (ours, rewards, metrics) = seen
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(rewards, their_rewards, atol=1e-4)
    np.testing.assert_array_equal(metrics["contact_overflows"], 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CartpoleBalance", "SwimmerSwimmer6"])
def test_a_real_task_steps_as_playground_does(name: str) -> None:
    own = real().registry.load(name, config_overrides={"impl": "jax"})
    env: Any = make_env(f"playground:{name}")
    step, own_step = jax.jit(env.step), jax.jit(own.step)
    with as_brax_needs():
        state, expected = jax.jit(env.reset)(jax.random.key(3)), jax.jit(own.reset)(jax.random.key(3))
    for i in range(20):
        action = jax.random.uniform(jax.random.key(i), (own.action_size,), minval=-1.0, maxval=1.0)
        with as_brax_needs():
            expected = own_step(expected, action)
        state = step(state, action)
        np.testing.assert_array_equal(state.obs, expected.obs)
        np.testing.assert_array_equal(state.reward, expected.reward)
    of_theirs = {keystr(path).lstrip("."): leaf for path, leaf in tree_leaves_with_path(expected.data)}
    carried: Any = state.pipeline_state
    for place, array in carried.arrays.items():
        np.testing.assert_array_equal(array, of_theirs[place])
    assert sum(x.nbytes for x in carried.arrays.values()) < sum(x.nbytes for x in of_theirs.values()) / 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cartpole", "swimmer6"])
def test_a_real_task_trains_from_the_command_line(name: str, tmp_path: Path) -> None:
    real()
    overrides = (
        *("env.num_envs=4", "env.episode_length=12", "env.reset_pool=8", "replay.capacity=512"),
        *("train.batch_size=8", "train.updates_per_step=1", "train.exploration_env_steps=16"),
        *("train.total_env_steps=80", "eval.every_env_steps=64", "eval.episodes=2", "network.hidden_sizes=[8]"),
    )
    command = (
        sys.executable,
        "-m",
        "sacbrax.train",
        f"configs/tasks/playground_{name}.yaml",
        f"run.dir={tmp_path}/run",
    )
    done = subprocess.run([*command, *overrides, "--quiet"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    row = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert row["env_steps"] == 80
    assert row["train/faults"] == 0
    assert 0 < row["eval/return_mean"] <= 12
    assert row["eval/length_mean"] == 12
