"""Policies on a machine: what an ONNX file says of its task, and the example that reads nothing else."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import onnxruntime
import pytest
from saved_policies import saved

import sacbrax
from sacbrax import export
from sacbrax.config import EnvConfig
from sacbrax.policy_file import about as about_policies
from sacbrax.policy_file.about import about
from sacbrax.policy_file.files import load_policy
from sacbrax.policy_file.numpy_policy import LIMIT, PolicyFileError

EXAMPLE = Path(__file__).parents[2] / "examples" / "deploy_onnx.py"


@pytest.fixture(scope="module")
def example() -> Any:
    spec: Any = importlib.util.spec_from_file_location("deploy_onnx", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("deploy") / "pendulum.onnx"
    assert export.main(["inverted_pendulum_v5", "--out", str(out)]) == 0
    return out


def test_the_file_says_what_a_controller_must_know(pendulum: Path) -> None:
    metadata = onnxruntime.InferenceSession(pendulum).get_modelmeta().custom_metadata_map
    found = {name: json.loads(text) for name, text in metadata.items()}
    theirs: Any = gymnasium.make("InvertedPendulum-v5").unwrapped
    assert found["task"]["name"] == "inverted_pendulum_v5"
    assert found["observation"] == {"qpos": 2, "qvel": 2}
    assert found["action"] == {"names": ["slide"], "low": [-3.0], "high": [3.0], "offset": [0.0], "scale": [3.0]}
    assert found["control_dt"] == pytest.approx(theirs.dt)
    assert found["license"] == "MIT"
    assert found["versions"]["sacbrax"] == sacbrax.__version__
    assert found["training"]["env_steps"] > 0


def test_the_example_imports_nothing_of_ours() -> None:
    imports = {
        alias.name
        for node in ast.walk(ast.parse(EXAMPLE.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imports == {"json", "sys", "time", "numpy", "onnxruntime"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(ast.parse(EXAMPLE.read_text())))


def test_the_example_steers_gymnasiums_own_task(example: Any, pendulum: Path) -> None:
    """Its commands are those that Gymnasium takes, without any stretching."""
    policy, env = example.Policy(str(pendulum)), gymnasium.make("InvertedPendulum-v5")
    observation, _ = env.reset(seed=0)
    ours, total, over = load_policy("inverted_pendulum_v5"), 0.0, False
    while not over:
        command = policy(observation)
        np.testing.assert_allclose(command, 3.0 * ours(observation.astype(np.float32)), atol=1e-4)
        observation, reward, terminated, truncated, _ = env.step(command)
        total, over = total + float(reward), terminated or truncated
    assert total == 1000.0


def test_the_example_as_a_program(pendulum: Path) -> None:
    lines = [{"qpos": [0.0, 0.1], "qvel": [0.0, 0.0]}, [0.0, 0.1, 0.0, 0.0], [0.0, float("nan"), 0.0, 0.0]]
    text = "\n".join(map(json.dumps, lines))
    done = subprocess.run([sys.executable, EXAMPLE, pendulum], input=text, capture_output=True, text=True, timeout=120)
    first, second = map(json.loads, done.stdout.splitlines())  # and nothing for the broken sensor
    assert first == second
    assert abs(first[0]) > 0.1
    assert done.returncode == 1
    assert "command slide from -3 to 3" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: expected finite numbers: qpos [2], qvel [2]"


def test_mistakes_of_the_example(example: Any, pendulum: Path, tmp_path: Path) -> None:
    policy = example.Policy(str(pendulum))
    for wrong, message in (
        ([0.0] * 3, r"expected finite numbers: qpos \[2\]"),
        ({"qpos": [0, 0]}, "expected qpos, qvel"),
    ):
        with pytest.raises(ValueError, match=message):
            policy(wrong)
    saved(tmp_path / "policy.npz", "gaussian")
    export.export_onnx(load_policy(tmp_path / "policy.npz"), tmp_path / "policy.onnx")
    with pytest.raises(ValueError, match="says nothing of its task"):
        example.Policy(str(tmp_path / "policy.onnx"))


def test_a_normalizer_and_what_the_policy_sees(example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a dictionary only the policy's part; a number that the normalizer clips is told."""
    saved(tmp_path / "policy.npz", "gaussian", norm=True)
    policy = load_policy(tmp_path / "policy.npz")
    inner = SimpleNamespace(dt=0.02)
    env = SimpleNamespace(
        action_size=2,
        observation_size=5,
        backend="mjx",
        unwrapped=inner,
        observation_parts={"state": 2, "privileged_state": 3},
    )
    monkeypatch.setattr(
        about_policies, "task", lambda policy, imports: (env, EnvConfig(name="dictionary", action_repeat=3))
    )
    with pytest.raises(PolicyFileError, match="the policy's sizes, 2 and 2, are not those of dictionary here, 5 and 2"):
        about(policy, None)
    monkeypatch.setattr(policy, "observation_size", 5)
    facts = about(policy, "CC0-1.0")
    assert facts["observation"] == {"state": 2}
    for parts, seen in (
        ({"observation": 5}, {"observation": 2}),  # of one array the policy sees the first numbers
        ({"a": 1, "b": 4}, {"a": 1, "b": 1}),
    ):
        env.observation_parts = parts
        assert about(policy, None)["observation"] == seen
    assert facts["control_dt"] == pytest.approx(0.06)
    assert facts["action"]["names"] == ["action_0", "action_1"]
    assert (facts["action"]["low"], facts["action"]["high"]) == ([-1.0, -1.0], [1.0, 1.0])
    assert facts["license"] == "CC0-1.0"
    facts["task"]["options"] = {"healthy_z_range": [0.8, np.inf]}
    export.export_onnx(load_policy(tmp_path / "policy.npz"), tmp_path / "policy.onnx", facts)
    metadata = onnxruntime.InferenceSession(tmp_path / "policy.onnx").get_modelmeta().custom_metadata_map
    told = json.loads(metadata["task"], parse_constant=pytest.fail)  # JSON has no infinity of its own
    assert told["options"] == {"healthy_z_range": [0.8, "Infinity"]}
    deployed = example.Policy(str(tmp_path / "policy.onnx"))
    mean, deviation = 0.3, 2.0  # of `saved`
    np.testing.assert_allclose(facts["normalizer"]["mean"], mean)
    assert not deployed.unusual([mean, mean + 0.99 * LIMIT * deviation])
    assert deployed.unusual([mean, mean - 1.01 * LIMIT * deviation])


def test_a_class_of_the_users_own_needs_leave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path / "policy.npz", "gaussian")  # of probes:Cue
    command = [str(tmp_path / "policy.npz"), "--out", str(tmp_path / "policy.onnx")]
    assert export.main(command) == 2
    assert "probes:Cue, a class that only --import allows to import" in capsys.readouterr().err
    assert export.main([*command, "--import"]) == 0
