"""Every policy in NumPy alone equals the JAX one, also where Q chooses the action; files give parameters back whole."""

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import pytest
from reference_options import CRITICS
from saved_policies import A, O, saved

from sacbrax.agents.registry import make_hyper
from sacbrax.config import from_mapping
from sacbrax.config.named import POLICIES
from sacbrax.policy_file import files as policy_files
from sacbrax.policy_file.numpy_policy import PolicyFileError


@pytest.mark.parametrize("squash", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("kind", sorted(POLICIES))
def test_deterministic_actions_equal_jax(tmp_path, kind, norm, squash):
    agent, params, normalizer = saved(tmp_path / "p.npz", kind, norm, squash)
    policy = policy_files.load_policy(tmp_path / "p.npz")
    observation = np.random.default_rng(2).normal(size=(64, O)).astype(np.float32)
    seen = normalizer(observation) if norm else observation

    def q_function(obs: Any, action: Any) -> Any:
        return agent.critics(params["critic"], obs, action).min(axis=0)

    expected = np.clip(agent.policy.mode(params["actor"], seen, q_function), -1.0, 1.0)
    np.testing.assert_allclose(policy(observation), expected, atol=5e-6)
    np.testing.assert_allclose(policy(observation.reshape(8, 8, O))[3, 5], expected[29], atol=5e-6)
    np.testing.assert_allclose(policy(observation[3]), expected[3], atol=5e-6)
    q = agent.critics(params["critic"], seen, expected)
    np.testing.assert_allclose(policy.q(observation, expected), q, atol=2e-5)


PAIR = np.ones(O, np.float32)
ONES = np.ones(16, np.float32)
NETWORKS = {
    "sizes": {"actor_hidden_sizes": [8], "critic_hidden_sizes": [12, 4, 6]},
    "simba": {"actor_block": "simba", "critic_block": "simba", "critic_hidden_sizes": [8, 8, 8]},
    "simba critics": {"critic_block": "simba"},
    "weight norm": {"actor_weight_norm": True, "critic_weight_norm": True, "critic_layer_norm": True},
    "batch norm": {"actor_batch_norm": "batch", "critic_batch_norm": "renorm", "actor_weight_norm": True},
    "simba of unit weights": {"actor_block": "simba", "actor_weight_norm": True},
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", sorted(POLICIES))
def test_every_kind_of_network_comes_back_and_acts_as_in_jax(tmp_path, kind, network):
    algorithm = "sac_v2" if "critic_batch_norm" in NETWORKS[network] else "sac_v1"
    agent, params, _ = saved(tmp_path / "p.npz", kind, network=NETWORKS[network], algorithm=algorithm)
    policy = policy_files.load_policy(tmp_path / "p.npz")
    observation = np.random.default_rng(2).normal(size=(64, O)).astype(np.float32)

    def q_function(obs: Any, action: Any) -> Any:
        return agent.critics(params["critic"], obs, action).min(axis=0)

    expected = np.clip(agent.policy.mode(params["actor"], observation, q_function), -1.0, 1.0)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(policy(observation), expected, atol=5e-6)
    np.testing.assert_allclose(
        policy.q(observation, expected), agent.critics(params["critic"], observation, expected), atol=2e-5
    )
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    jax.tree.map(np.testing.assert_array_equal, policy_files.parameters(policy, template), params)
    config = policy_files.network_config(policy)
    for key, value in NETWORKS[network].items():
        found = getattr(config.network, key.replace("hidden_sizes", "sizes"))
        assert found == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("name", CRITICS)
def test_every_kind_of_critics_comes_back_and_chooses_as_in_jax(tmp_path, name):
    agent, params, _ = saved(tmp_path / "p.npz", "gmm", critic=CRITICS[name])
    policy = policy_files.load_policy(tmp_path / "p.npz")
    observation = np.random.default_rng(2).normal(size=(64, O)).astype(np.float32)

    def q_function(obs: Any, action: Any) -> Any:
        return agent.critics(params["critic"], obs, action).min(axis=0)

    expected = np.clip(agent.policy.mode(params["actor"], observation, q_function), -1.0, 1.0)
    np.testing.assert_allclose(policy(observation), expected, atol=5e-6)
    q = agent.critics(params["critic"], observation, expected)
    np.testing.assert_allclose(policy.q(observation, expected), q, rtol=1e-5, atol=2e-5)
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    jax.tree.map(np.testing.assert_array_equal, policy_files.parameters(policy, template), params)
    found = dataclasses.asdict(policy_files.network_config(policy).critic)
    assert found.items() >= CRITICS[name].items()


@pytest.mark.parametrize(
    ("critic", "says"),
    [
        ({"kind": "categorical", "num_atoms": 5, "atom_spacing": "linear"}, "v_min and v_max"),
        ({"kind": "categorical", "num_atoms": 5, "atom_spacing": "linear", "v_min": 1, "v_max": 1}, "is not below"),
        ({"kind": "categorical", "num_atoms": 5, "atom_spacing": "odd", "v_min": 0, "v_max": 1}, "atom_spacing"),
        ({"kind": "categorical", "num_atoms": 1, "atom_spacing": "linear", "v_min": 0, "v_max": 1}, "num_atoms"),
        (
            {"kind": "categorical", "num_atoms": 6, "atom_spacing": "linear", "v_min": 0, "v_max": 1},
            "last critic_layer",
        ),
        ({"kind": "hl_gauss", "num_atoms": 5}, "hl_gauss, which is no longer there"),
        ({"kind": ["categorical"]}, "critic is not"),
        ("categorical", "critic is not"),
    ],
)
def test_a_file_that_lies_about_its_critics_is_refused(tmp_path, critic, says):
    path = tmp_path / "p.npz"
    saved(path, critic=CRITICS["categorical"])
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    content["header"] = np.asarray(json.dumps(json.loads(str(content["header"])) | {"critic": critic}))
    np.savez(path, **content)
    with pytest.raises(PolicyFileError, match=says):
        policy_files.load_policy(path)


@pytest.mark.parametrize("kind", sorted(POLICIES))
def test_samples_follow_the_same_distribution(tmp_path, kind):
    agent, params, _ = saved(tmp_path / "p.npz", kind)
    policy = policy_files.load_policy(tmp_path / "p.npz")
    observation = np.repeat(np.asarray([[0.5, -1.0]], np.float32), 20_000, axis=0)
    ours = policy.sample(observation, np.random.default_rng(0))
    theirs = agent.policy.sample(params["actor"], observation, jax.random.key(0))[0]
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(np.cov(ours.T), np.cov(theirs.T), atol=0.03)


@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2"])
@pytest.mark.parametrize("kind", sorted(POLICIES))
def test_parameters_come_back_as_they_were(tmp_path, kind, algorithm):
    agent, params, _ = saved(tmp_path / "p.npz", kind, norm=True, algorithm=algorithm)
    hyper = make_hyper(from_mapping({"algorithm": {"name": algorithm}}), A)
    template = jax.eval_shape(agent.init, jax.random.key(0), hyper).params
    found = policy_files.parameters(policy_files.load_policy(tmp_path / "p.npz"), template)
    jax.tree.map(np.testing.assert_array_equal, found, params)


def test_without_critics_a_policy_that_needs_them_is_refused(tmp_path):
    for kind in ("gmm", "latent"):
        saved(tmp_path / "p.npz", kind, others=False)
        with pytest.raises(PolicyFileError, match="no critics"):
            policy_files.load_policy(tmp_path / "p.npz")
    saved(tmp_path / "p.npz", "gaussian", others=False)
    policy = policy_files.load_policy(tmp_path / "p.npz")
    with pytest.raises(PolicyFileError, match="no critics"):
        policy.q(np.zeros(O), np.zeros(A))


@pytest.mark.parametrize(
    ("header", "arrays", "says"),
    [
        ({"critic_num_layers": 5}, {}, "no critic_blocks have 5 layers"),
        ({"critic_num_layers": 2}, {}, "no critic_blocks have 2 layers"),
        ({"critic_num_layers": 8}, {}, "critic_layer 6"),
        ({"critic_num_layers": 1000}, {}, "critic_layers are not all there"),
        ({"critic_num_layers": "6"}, {}, "critic_num_layers"),
        ({"block": ["simba"]}, {}, "unknown block"),
        ({"critic_block": "rope"}, {}, "unknown critic_block"),
        ({"critic_batch_norm": True}, {}, "unknown critic_batch_norm"),
        ({"batch_norm": "batch"}, {}, "batch 0 has the wrong shape"),
        ({"batch_norm": "renorm"}, {"batch_scale_0": PAIR, "batch_bias_0": PAIR, "batch_mean_0": PAIR,
                                    "batch_variance_0": -PAIR}, "batch 0 has no deviation"),
        ({"weight_norm": 1}, {}, "weight_norm is no truth value"),
        ({"weight_norm": True}, {}, "layer 0 has the wrong shape"),
        ({"weight_norm": True}, {"scale_0": ONES, "scale_1": ONES, "kernel_1": 0 * np.ones((16, 16), np.float32)},
         "layer 1 has no direction"),
        ({"block": "simba"}, {}, "no blocks have 3 layers"),
        ({}, {"critic_norm_scale_2": None}, "critic_norm 2"),
        ({}, {"critic_kernel_2": np.zeros((2, 64, 8), np.float32), "critic_bias_2": np.zeros((2, 8), np.float32)},
         "critic_block 0"),
    ],
)  # fmt: skip
def test_a_file_that_lies_about_its_blocks_is_refused(tmp_path, header, arrays, says):
    path = tmp_path / "p.npz"
    saved(path, network={"critic_block": "simba"})
    with np.load(path) as file:
        content = {name: file[name] for name in file.files} | arrays
    content["header"] = np.asarray(json.dumps(json.loads(str(content["header"])) | header))
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    with pytest.raises(PolicyFileError, match=says):
        policy_files.load_policy(path)


@pytest.mark.parametrize(
    ("kind", "options", "arrays", "says"),
    [
        ("gmm", {"kind": "oracle"}, {}, "policy kind"),
        ("gmm", {"kind": ["gmm"]}, {}, "policy kind"),
        ("gmm", {"squash": 1}, {}, "squash"),
        ("gmm", {"components": 0}, {}, "components"),
        ("gmm", {"components": 4}, {}, "too narrow"),
        ("gmm", {"log_sigma_min": "low"}, {}, "log_sigma"),
        ("gmm", {"log_sigma_max": float("nan")}, {}, "log_sigma"),
        ("gmm", {}, {"critic_kernel_0": np.zeros((2, 3, 16), np.float32)}, "critic_layer 0"),
        ("gmm", {}, {"critic_kernel_0": np.zeros((), np.float32)}, "critic_kernel_0"),
        ("gmm", {}, {"critic_kernel_0": np.zeros((0, 4, 16), np.float32)}, "critic_kernel_0"),
        ("gmm", {}, {"value_bias_1": None}, "value_layer 1"),
        ("gmm", {}, {"log_temperature": np.zeros(3, np.float32)}, "log_temperature"),
        ("latent", {"candidates": 10**9}, {}, "sizes"),
        ("latent", {"candidates": 2**19 + 1}, {}, "candidates"),
        ("latent", {"coupling_layers": 3}, {}, "coupling_2_layer 0"),
        ("latent", {"coupling_layers": None}, {}, "sizes"),
        ("latent", {"coupling_hidden_sizes": 5}, {}, "coupling_hidden_sizes"),
        ("latent", {"feature_size": -1}, {}, "feature_size"),
    ],
)
def test_a_file_that_lies_about_its_policy_is_refused(tmp_path, kind, options, arrays, says):
    path = tmp_path / "p.npz"
    saved(path, kind)
    with np.load(path) as file:
        content = {name: file[name] for name in file.files} | arrays
    header = json.loads(str(content["header"]))
    header["policy"] |= options
    content["header"] = np.asarray(json.dumps(header))
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    with pytest.raises(PolicyFileError, match=says) as caught:
        policy_files.load_policy(path)
    assert str(path) in str(caught.value)
