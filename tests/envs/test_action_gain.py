"""The action gain: what the environment gets, in training, in evaluation and from a policy file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Probe

from sacbrax.config import ConfigError, from_mapping
from sacbrax.envs.action_gain import ActionGain
from sacbrax.policy_file.files import save
from sacbrax.policy_file.numpy_policy import load
from sacbrax.training.trainer import Trainer


class Echo(Probe):
    """Rewards the first coordinate of the action it gets."""

    def rule(self, draw, time, action):
        return action[0], False


def test_environment_gets_gain_times_action_clipped():
    env = ActionGain(Echo(), 1.5)
    state = env.reset(jax.random.key(0))
    for action, expected in ((0.4, 0.6), (0.9, 1.0), (-0.8, -1.0)):
        got = env.step(state, jnp.full(env.action_size, action)).reward
        assert float(got) == pytest.approx(expected)
    assert (env.observation_size, env.action_size, env.backend) == (Echo().observation_size, 1, Echo().backend)


def test_policy_file_gives_the_environment_its_action(tiny, tmp_path):
    config = tiny("policy.action_gain=1.5")
    trainer = Trainer(config)
    assert isinstance(trainer.env, ActionGain)
    state = trainer.init(jax.random.key(0), trainer.hyper())
    sizes = (trainer.observation_size, trainer.action_size)
    path = tmp_path / "policy.npz"
    save(
        path, config, state.agent.params["actor"], state.normalizer, sizes, {}, {"critic": state.agent.params["critic"]}
    )
    policy = load(path)
    observation = jax.random.normal(jax.random.key(1), (64, sizes[0])) * 30.0
    own = trainer.agent.act_deterministic(state.agent, state.normalizer(observation))
    expected = np.clip(1.5 * np.asarray(own), -1.0, 1.0)
    assert np.any(np.abs(own) * 1.5 > 1.0), "no action reaches the clip: the test would show nothing"
    np.testing.assert_allclose(policy(observation), expected, atol=1e-5)
    # The critics know actions from before the gain.
    inside = np.abs(expected).max(axis=1) < 1.0
    q = trainer.agent.critics(state.agent.params["critic"], state.normalizer(observation), own)
    np.testing.assert_allclose(policy.q(observation, expected)[:, inside], np.asarray(q)[:, inside], atol=1e-4)


def test_gain_must_be_positive():
    with pytest.raises(ConfigError, match=r"policy\.action_gain"):
        from_mapping({"policy": {"action_gain": 0}})
