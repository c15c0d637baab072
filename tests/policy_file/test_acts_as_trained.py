"""Every way out of training acts as training did: what the environment's physics gets is the same from the trainer's
evaluation, from NumPy, ONNX and JAX, for every policy, gain and squash setting."""

import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from probes import Mimic
from saved_policies import A, O, saved
from tiny_config import make_tiny

from sacbrax import export
from sacbrax.agents.policies import POLICIES
from sacbrax.envs.action_gain import ActionGain
from sacbrax.envs.vector_env import VectorEnv
from sacbrax.envs.vector_env import evaluate as evaluate_episodes
from sacbrax.policy_file import files as policy_files
from sacbrax.policy_file import onnx_policy
from sacbrax.training.trainer import Trainer
from sacbrax.view.evaluation import evaluate_engine

OBSERVATION = np.random.default_rng(2).normal(size=(32, O)).astype(np.float32) * 3


@pytest.mark.parametrize(
    ("kind", "gain", "squash"),
    [
        pytest.param(*case, marks=() if case[1:] == (0.5, False) else pytest.mark.slow)
        for case in itertools.product(sorted(POLICIES), (0.5, 1.0, 1.5), (True, False))
    ],
)
def test_every_export_acts_as_training_did(kind: str, gain: float, squash: bool, tmp_path: Path) -> None:
    agent, params, _ = saved(tmp_path / "p.npz", kind, squash=squash, action_gain=gain)
    policy = policy_files.load_policy(tmp_path / "p.npz")

    def q_function(observation: Any, action: Any) -> Any:
        return agent.critics(params["critic"], observation, action).min(axis=0)

    chosen = np.asarray(agent.policy.mode(params["actor"], OBSERVATION, q_function))
    env = ActionGain(Mimic(), gain) if gain != 1 else Mimic()
    vector = VectorEnv(env, len(OBSERVATION), episode_length=10)
    expected = vector.step(vector.reset(jax.random.key(0)), jnp.asarray(chosen), jax.random.key(1))[1]
    got = expected.transition.next_observation
    assert squash or np.abs(chosen).max() > 1, "no action leaves the limits: the test would show nothing"
    np.testing.assert_allclose(np.clip(policy(OBSERVATION), -1, 1), got, atol=5e-6)
    np.testing.assert_allclose(export._jax_policy(policy)(OBSERVATION), got, atol=5e-6)
    session = onnxruntime.InferenceSession(onnx_policy.build(policy).SerializeToString())
    np.testing.assert_allclose(session.run(["action"], {"observation": OBSERVATION})[0], got, atol=5e-6)


@pytest.mark.parametrize(("gain", "squash"), [(0.5, "false"), pytest.param(1.5, "true", marks=pytest.mark.slow)])
def test_evaluations_return_what_the_trainers_do(gain: float, squash: str, tmp_path: Path) -> None:
    config = make_tiny("env.name=probes:Mimic", f"policy.action_gain={gain}", f"policy.squash={squash}")
    trainer = Trainer(config)
    state = trainer.init(jax.random.key(0), trainer.hyper())
    actor = jax.tree.map(lambda x: 5 * x, state.agent.params["actor"])
    agent = state.agent.replace(params=state.agent.params | {"actor": actor})
    policy_files.save(tmp_path / "p.npz", config, actor, state.normalizer, (O, A), {}, {})

    def act(observation: Any, key: Any) -> Any:
        return trainer.agent.act_deterministic(agent, state.normalizer(observation))

    ours = evaluate_episodes(trainer.env, act, jax.random.key(3), 20, config.env.episode_length)
    policy = policy_files.load_policy(tmp_path / "p.npz")
    _, theirs = evaluate_engine(policy, None, 20, 3, imports=True)
    assert np.std(theirs["return"]) > 0.01
    np.testing.assert_allclose(theirs["return"], ours["return"], atol=1e-4)
