"""The policy in NumPy: equal to the JAX policy in every variant, and no hostile file gets past the reader."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacbrax.agents.normalizer import Normalizer
from sacbrax.agents.policies import make_policy
from sacbrax.config import Config
from sacbrax.policy_file import files as policy_files
from sacbrax.policy_file import numpy_policy
from sacbrax.policy_file.numpy_policy import ACTIVATIONS, PolicyFileError

Tiny = Callable[..., Config]
O, A = 5, 2


def saved(path: Path, config: Config) -> tuple[Any, Normalizer]:
    """Write a random policy with a normalizer far from its start; (params, normalizer)."""
    policy = make_policy(config, A)
    params = jax.jit(policy.init)(jax.random.key(0), jnp.zeros((1, O)))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda p: p + jnp.asarray(0.2 * rng.normal(size=p.shape), jnp.float32), params)
    normalizer = Normalizer.create(O).replace(mean=jnp.arange(O) / 2.0, variance=jnp.arange(1.0, O + 1) ** 2)
    policy_files.save(path, config, params, normalizer, (O, A), {"eval/return_mean": 1.5})
    return params, normalizer


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_numpy_equals_jax(tiny: Tiny, tmp_path: Path, activation: str, normalized: bool, layer_norm: bool) -> None:
    config = tiny(
        f"network.activation={activation}",
        f"network.normalize_observations={str(normalized).lower()}",
        f"network.actor_layer_norm={str(layer_norm).lower()}",
        "network.hidden_sizes=[16, 16]",
    )
    params, normalizer = saved(tmp_path / "policy.npz", config)
    observation = np.random.default_rng(2).normal(size=(64, O), scale=3).astype(np.float32)
    seen = normalizer(observation) if normalized else observation
    expected = make_policy(config, A).mode(params, seen, lambda *_: None)
    ours = policy_files.load_policy(tmp_path / "policy.npz")(observation)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)
    assert np.abs(ours).std() > 0.05, "the comparison needs actions that differ"


def test_one_observation_and_batches(tiny: Tiny, tmp_path: Path) -> None:
    saved(tmp_path / "policy.npz", tiny())
    policy = policy_files.load_policy(tmp_path / "policy.npz")
    observation = np.random.default_rng(0).normal(size=(3, 4, O))
    assert policy(observation).shape == (3, 4, A)
    np.testing.assert_allclose(policy(observation[1, 2]), policy(observation)[1, 2], atol=1e-6)
    for shape in [(), (O + 1,), (2, O - 1)]:
        with pytest.raises(ValueError, match="observations of size 5"):
            policy(np.zeros(shape))


def test_the_header_tells_what_the_policy_is(tiny: Tiny, tmp_path: Path) -> None:
    saved(tmp_path / "policy.npz", tiny())
    header = policy_files.load_policy(tmp_path / "policy.npz").header
    assert header["env"]["name"] == "probes:Cue"
    assert header["eval/return_mean"] == 1.5


def test_a_run_directory_stands_for_its_best_policy(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    saved(tmp_path / "run" / "checkpoints" / policy_files.BEST, tiny())
    assert policy_files.load_policy(tmp_path / "run").action_size == A


@pytest.mark.parametrize("source", ["nowhere", "../config", "", "/", "a\x00b"])
def test_an_unknown_source_is_one_line(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PolicyFileError) as caught:
        policy_files.load_policy(source)
    assert "\n" not in str(caught.value)


def rewrite(path: Path, header: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> None:
    """Change entries of a valid file; None removes one."""
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    old = json.loads(str(content["header"]))
    merged = {key: value for key, value in (old | (header or {})).items() if value is not None}
    content["header"] = np.asarray(json.dumps(merged))
    content |= arrays or {}
    np.savez(path, **{name: value for name, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("header", "arrays", "says"),
    [
        ({"format_version": 4}, {}, "format version 4"),
        ({"format_version": None}, {}, "format version None"),
        ({"format_version": True}, {}, "format version True"),
        ({"dtype": None}, {}, "dtype is missing"),
        ({"observation_size": 0}, {}, "sizes"),
        ({"action_size": "2"}, {}, "sizes"),
        ({"action_size": True}, {}, "sizes"),
        ({"num_layers": 10**9}, {}, "sizes"),
        ({"num_layers": 3}, {}, "layer 2"),
        ({"action_size": 100}, {}, "too narrow"),
        ({"activation": "os.system"}, {}, "activation"),
        ({"activation": ["relu"]}, {}, "activation"),
        ({"normalize_observations": None}, {}, "normalize_observations"),
        ({"layer_norm": True}, {}, "norm 0"),
        ({}, {"kernel_0": np.zeros((3, 8), np.float32)}, "layer 0"),
        ({}, {"bias_1": None}, "layer 1"),
        ({}, {"kernel_0": np.full((O, 8), np.nan, np.float32)}, "finite"),
        ({}, {"kernel_0": np.zeros((O, 8))}, "finite float32"),
        ({}, {"observation_mean": np.zeros(2, np.float32)}, "observation_mean"),
        ({}, {"observation_scale": None}, "observation_scale"),
    ],
)
def test_a_file_that_lies_is_refused(tiny: Tiny, tmp_path: Path, header: Any, arrays: Any, says: str) -> None:
    path = tmp_path / "policy.npz"
    saved(path, tiny())
    rewrite(path, header, arrays)
    with pytest.raises(PolicyFileError, match=says) as caught:
        numpy_policy.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("header", ["[1]", "5", "{", '"text"', "[" * 10_000])
def test_a_header_that_is_no_mapping_is_refused(tmp_path: Path, header: str) -> None:
    np.savez(tmp_path / "policy.npz", header=np.asarray(header))
    with pytest.raises(PolicyFileError):
        numpy_policy.load(tmp_path / "policy.npz")


def test_pickles_are_never_loaded(tiny: Tiny, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    saved(tmp_path / "policy.npz", tiny())
    rewrite(tmp_path / "policy.npz", arrays={"extra": np.array([Bomb()], dtype=object)})
    with pytest.raises(PolicyFileError):
        numpy_policy.load(tmp_path / "policy.npz")
    assert not (tmp_path / "exploded").exists()


def test_entries_that_are_no_arrays_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    saved(tmp_path / "policy.npz", tiny())
    with zipfile.ZipFile(tmp_path / "policy.npz", "a") as archive:
        archive.writestr("readme.txt", "not an array")
    with pytest.raises(PolicyFileError):
        numpy_policy.load(tmp_path / "policy.npz")


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "policy.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x", "w") as file:
        for _ in range(257):
            file.write(bytes(2**20))
    with pytest.raises(PolicyFileError, match="larger"):
        numpy_policy.load(tmp_path / "policy.npz")


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4), st.floats(0.1, 1))
def test_damaged_files_are_refused_or_harmless(tiny: Tiny, tmp_path: Path, edits: Any, keep: float) -> None:
    path = tmp_path / "policy.npz"
    if not (tmp_path / "whole").exists():
        saved(path, tiny())
        path.rename(tmp_path / "whole")
    content = bytearray((tmp_path / "whole").read_bytes())
    for place, byte in edits:
        content[int(place * (len(content) - 1))] = byte
    path.write_bytes(content[: int(keep * len(content))] if keep < 0.9 else content)
    try:
        policy = numpy_policy.load(path)
    except PolicyFileError:
        return
    assert np.isfinite(policy(np.zeros(O))).all()


def test_the_reader_needs_numpy_alone() -> None:
    heavy = {"jax", "flax", "brax", "mujoco", "yaml"}
    code = f"import sys, sacbrax.policy_file.numpy_policy; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
