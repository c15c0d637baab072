"""Exported policies: ONNX against JAX and NumPy for every kind of policy, the door, and the Gymnasium example."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest
from reference_options import CRITICS
from saved_policies import O, saved

from sacbrax import config as config_lib
from sacbrax import export
from sacbrax.agents.networks import ACTIVATIONS
from sacbrax.agents.normalizer import Normalizer
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.core.errors import RunError
from sacbrax.policy_file import files as policy_files
from sacbrax.policy_file import numpy_policy, onnx_policy
from sacbrax.policy_file.files import load_policy

EXAMPLE = Path(__file__).parents[2] / "examples" / "gymnasium_onnx.py"
BATCH_NORM = {"actor_batch_norm": "batch", "critic_batch_norm": "renorm"}
VARIANTS = {
    "gaussian": {"kind": "gaussian", "norm": True, "action_gain": 2.0},
    "clipped": {"kind": "gaussian", "squash": False},
    "mixture": {"kind": "gmm", "norm": True},
    "latent": {"kind": "latent", "candidates": 5},
    "simba": {"kind": "gmm", "network": {"actor_block": "simba", "critic_block": "simba"}},
    "weight norm": {"kind": "gmm", "network": {"actor_weight_norm": True, "critic_weight_norm": True}},
    **{f"critics {name}": {"kind": "gmm", "critic": critic} for name, critic in CRITICS.items() if critic},
    "batch norm": {"kind": "gmm", "algorithm": "sac_v2", "network": BATCH_NORM},
    "sizes": {"kind": "gmm", "network": {"actor_hidden_sizes": [8], "critic_hidden_sizes": [12, 4, 6]}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_onnx_is_the_policy(variant: str, tmp_path: Path) -> None:
    saved(tmp_path / "policy.npz", **VARIANTS[variant])
    policy = load_policy(tmp_path / "policy.npz")
    assert export.export_onnx(policy, tmp_path / "policy.onnx") <= 2e-6
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    observation = np.random.default_rng(1).normal(size=(7, O)).astype(np.float32)
    action = session.run(["action"], {"observation": observation})[0]
    np.testing.assert_allclose(action, policy(observation), atol=5e-6)
    assert np.std(action) > 0.01
    single = session.run(["action"], {"observation": observation[:1]})[0]
    np.testing.assert_allclose(single, action[:1], atol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, tmp_path: Path) -> None:
    """By hand: one hidden layer that passes the observation on, squashing off."""
    header = load_policy("swimmer").header | {"observation_size": 1, "action_size": 1, "num_layers": 2}
    header |= {"activation": name, "normalize_observations": False, "layer_norm": False}
    header["policy"] = header["policy"] | {"squash": False, "action_gain": 1.0, "kind": "gaussian"}
    one = np.ones((1, 1), np.float32)
    arrays = {"kernel_0": one, "bias_0": 0 * one[0], "kernel_1": np.array([[0.5, 0.0]], np.float32)}
    arrays |= {"bias_1": np.zeros(2, np.float32), "observation_mean": 0 * one[0], "observation_scale": one[0]}
    model = onnx_policy.build(numpy_policy.NumpyPolicy(header, arrays))
    x = np.linspace(-1.9, 1.9, 21, dtype=np.float32)[:, None]
    action = onnxruntime.InferenceSession(model.SerializeToString()).run(["action"], {"observation": x})[0]
    np.testing.assert_allclose(action, 0.5 * np.asarray(ACTIVATIONS[name](x)), atol=1e-6)


def test_a_sound_latent_policy_is_not_refused(tmp_path: Path) -> None:
    """Rounding alone puts these fresh networks of the paper's size 1.2e-6 apart."""
    config = config_lib.load("paper/swimmer_rllab_latent")
    agent, path = make_agent(config, 13, 2), tmp_path / "policy.npz"
    others = dict(jax.jit(agent.init)(jax.random.key(8), make_hyper(config, 2)).params)
    policy_files.save(path, config, others.pop("actor"), Normalizer.create(13), (13, 2), {}, others)
    assert export.export_onnx(load_policy(path), tmp_path / "policy.onnx") < 5e-6


def test_a_model_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "policy.npz", "gaussian")
    build, policy = onnx_policy.build, load_policy(tmp_path / "policy.npz")
    arrays = policy.arrays | {"bias_1": policy.arrays["bias_1"] + np.float32(1e-4)}
    other = numpy_policy.NumpyPolicy(policy.header, arrays)
    monkeypatch.setattr(onnx_policy, "build", lambda _, about: build(other, about))
    with pytest.raises(RunError, match="the model differs from the policy in float64"):
        export.export_onnx(policy, tmp_path / "policy.onnx")
    assert not (tmp_path / "policy.onnx").exists()


@pytest.mark.parametrize("name", ["policy.onnx", "policy.npz"])
def test_what_cannot_be_written_leaves_the_file_of_before(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / name).write_text("a robot's policy")
    monkeypatch.setattr(os, "fsync", full)
    assert export.main(["swimmer", "--out", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err == f"error: --out: cannot write {tmp_path / name}: No space left on device\n"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "a robot's policy")]


def test_the_pretrained_swimmer_in_ten_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "policy.onnx"
    assert export.main(["swimmer", "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: within ")
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 10
    done = subprocess.run([sys.executable, EXAMPLE, out], capture_output=True, text=True, check=True, timeout=120)
    word, number = done.stdout.split()
    assert (word, float(number) > 350) == ("return", True)


def test_numpy_file(tmp_path: Path) -> None:
    assert export.main(["swimmer", "--out", str(tmp_path / "policy.npz")]) == 0
    observation = np.ones(8, np.float32)
    np.testing.assert_array_equal(
        numpy_policy.load(tmp_path / "policy.npz")(observation), load_policy("swimmer")(observation)
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["swimmer", "--out", "policy.pt"], "--out"),
        (["nowhere", "--out", "policy.onnx"], "nowhere"),
        (["swimmer", "--out", "/proc/policy.onnx"], "--out"),
        (["swimmer"], "--out"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error:")
    assert error.count("\n") == 1
    assert word in error
