"""Whatever a file holds, only our own errors come out: thousands of random and hostile configurations, policy files,
manifests and checkpoints. A fixed seed, so that a failure here is a failure everywhere."""

import copy
import gc
import io
import itertools
import json
import os
import pickle
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from resumable import YAML, configure, newest, train

from sacbrax import config as config_lib
from sacbrax import evaluate
from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.checkpoint import manifest
from sacbrax.checkpoint.manifest import CheckpointError, DamagedError
from sacbrax.config import ConfigError
from sacbrax.policy_file import numpy_policy
from sacbrax.policy_file.numpy_policy import PolicyFileError
from sacbrax.run.directory import RunDirectory
from sacbrax.run.resume import Store
from sacbrax.sinks.console import Reporter
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer


def fuzz(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def one_line(error: Exception) -> None:
    assert len(str(error).splitlines()) == 1


KEYS = [*config_lib.Config().to_mapping(), "num_envs", "name", "kwargs", "hidden_sizes", "learning_rate", "schedule"]
WORDS = [
    *KEYS,
    "1e400",
    ".nan",
    "-.inf",
    "0x10",
    "1_000",
    "~",
    "null",
    "yes",
    "2001-01-01",
    "!!binary aGk=",
    "1" * 5000,
]
MARKS = [
    ": ",
    "\n  ",
    "\n",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "!!python/name:os.system ",
    "? ",
    "|",
    "\t",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def taken_or_refused(text: str, *overrides: str) -> None:
    try:
        config = config_lib.parse(text, "file", overrides)
    except ConfigError as error:
        one_line(error)
    else:
        assert config_lib.parse(config.to_yaml(), "again").to_yaml() == config.to_yaml()


@fuzz(2000)
@given(st.lists(st.sampled_from(WORDS) | st.sampled_from(MARKS) | st.text(max_size=3), max_size=25))
def test_any_text_is_a_configuration_or_a_mistake(parts: list[str]) -> None:
    taken_or_refused("".join(parts))


@fuzz(2000)
@given(st.lists(st.tuples(st.integers(0, len(YAML) - 1), st.text(max_size=2)), min_size=1, max_size=5))
def test_damaged_configurations(edits: list[tuple[int, str]]) -> None:
    text = YAML
    for place, piece in edits:
        text = text[:place] + piece + text[place + 1 :]
    taken_or_refused(text)


@fuzz(1000)
@given(
    st.lists(st.text(max_size=12) | st.sampled_from([f"{a}.{b}=" for a in KEYS for b in KEYS]), max_size=3), st.text()
)
def test_overrides(overrides: list[str], value: str) -> None:
    taken_or_refused(YAML, *(override + value for override in overrides))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\n"
        + "".join(f"{c}: &{c} [{','.join([f'*{p}'] * 9)}]\n" for p, c in itertools.pairwise("abcdefghi")),
        "env: " + "[" * 100_000,
        "env: " + "{a: " * 10_000,
        "!!python/object/apply:os.system ['touch hacked']",
        "env: {kwargs: !!python/object/new:os.system [touch hacked]}",
        "train: {seed: " + "9" * 10_000 + "}",
        "train: {seed: 1" + "0" * 400 + ".0}",
    ],
    ids=["bomb", "deep", "deeper", "object", "nested object", "long", "longer"],
)
def test_hostile_configurations(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_lib.parse(text, "file")
    assert len(str(caught.value)) < 1000
    assert not Path("hacked").exists()


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuzz") / "run"
    train(directory, "train.total_env_steps=120", "replay.capacity=64")
    return directory


@pytest.fixture(scope="module")
def policy_arrays(run_directory: Path) -> dict[str, np.ndarray]:
    with np.load(run_directory / "checkpoints/best_policy.npz") as file:
        return dict(file)


def loads_or_refuses(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    try:
        policy = numpy_policy.load(path)
    except PolicyFileError as error:
        one_line(error)
    else:
        with np.errstate(all="ignore"):
            assert policy(np.zeros(policy.observation_size)).shape == (policy.action_size,)


@fuzz(1500)
@given(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), min_size=1, max_size=4), st.floats(0.0, 1.5))
def test_damaged_policy_files(
    run_directory: Path, tmp_path: Path, edits: list[tuple[float, bytes]], keep: float
) -> None:
    content = (run_directory / "checkpoints/best_policy.npz").read_bytes()
    for share, piece in edits:
        place = int(share * len(content))
        content = content[:place] + piece + content[place + 1 :]
    loads_or_refuses(content[: int(keep * len(content))] if keep < 1 else content, tmp_path / "policy.npz")


@fuzz(1000)
@given(st.data())
def test_policy_files_that_lie(policy_arrays: dict[str, np.ndarray], tmp_path: Path, data: st.DataObject) -> None:
    """Whole archives with another header, or other arrays than it announces."""
    arrays, header = dict(policy_arrays), json.loads(str(policy_arrays["header"]))
    for key in data.draw(st.lists(st.sampled_from([*header, "policy", "new"]), max_size=2)):
        header[key] = data.draw(JSON)
    arrays["header"] = np.asarray(json.dumps(header))
    for key in data.draw(st.lists(st.sampled_from([*arrays]), max_size=1)):
        shape = data.draw(st.lists(st.integers(0, 5), max_size=3))
        arrays[key] = np.full(shape, 1, data.draw(st.sampled_from(["f4", "f8", "i4", "U3", "c8", "S2", "?"])))
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    loads_or_refuses(stream.getvalue(), tmp_path / "policy.npz")


class Payload:
    def __reduce__(self) -> Any:
        return os.mkdir, ("hacked",)


def npy(shape: Any, descr: str = "<f4", content: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


@pytest.mark.parametrize(
    "member",
    [
        npy((10**12,)),
        npy((2**62, 4)),
        npy((1,), "|O", pickle.dumps(Payload())),
        npy((-1,)),
        pickle.dumps(Payload()),
        b"",
    ],
    ids=["huge", "overflow", "object", "negative", "pickle", "empty"],
)
def test_hostile_policy_files(policy_arrays: dict[str, np.ndarray], tmp_path: Path, member: bytes) -> None:
    path = tmp_path / "policy.npz"
    np.savez(path, **{key: value for key, value in policy_arrays.items() if key != "kernel_0"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("kernel_0.npy", member)
    with pytest.raises(PolicyFileError):
        numpy_policy.load(path)
    assert not Path("hacked").exists()


@pytest.fixture(scope="module")
def store(run_directory: Path) -> Store:
    """What a resumed run reads its checkpoints with."""
    config = configure(run_directory, "train.total_env_steps=120", "replay.capacity=64")
    trainer = Trainer(config)
    programs = Programs(trainer)
    state = jax.eval_shape(programs.init, programs.keys(0)[0], trainer.hyper())
    template = {"state": state, "sums": jax.eval_shape(programs.zero_sums, state)}
    return Store(config, RunDirectory(run_directory), template, Reporter(1, quiet=True))


def body_of(path: Path) -> dict[str, Any]:
    return json.loads(json.loads((path / "manifest.json").read_text())["body"])


def seal(path: Path, body: Any) -> None:
    """Write a manifest whose checksum is right, as an attacker would."""
    text = json.dumps(body)
    (path / "manifest.json").write_text(json.dumps({"crc32": zlib.crc32(text.encode()), "body": text}))


def reads_or_refuses(path: Path, expected: Callable[[dict[str, Any]], Any]) -> None:
    try:
        checkpoint_files.read(path, expected)
    except (CheckpointError, ConfigError) as error:
        one_line(error)


@fuzz(1000)
@given(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), min_size=1, max_size=4))
def test_damaged_manifests(run_directory: Path, tmp_path: Path, edits: list[tuple[float, bytes]]) -> None:
    content = (newest(run_directory) / "manifest.json").read_bytes()
    for share, piece in edits:
        place = int(share * len(content))
        content = content[:place] + piece + content[place + 1 :]
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError):
        checkpoint_files.read(tmp_path, lambda notes: pytest.fail("read further"))


@fuzz(500)
@given(st.data())
def test_manifests_that_lie(run_directory: Path, store: Store, tmp_path: Path, data: st.DataObject) -> None:
    """A right checksum over anything: each change is refused, or is none that matters."""
    body = copy.deepcopy(body_of(newest(run_directory)))
    target: Any = body
    while True:
        key = data.draw(
            st.sampled_from(sorted(target)) if isinstance(target, dict) else st.integers(0, len(target) - 1)
        )
        child = target[key]
        if not isinstance(child, dict | list) or not child or data.draw(st.booleans()):
            break
        target = child
    target[key] = data.draw(JSON)
    path = tmp_path / "checkpoint"
    if not path.exists():
        shutil.copytree(newest(run_directory), path)
    seal(path, body)
    reads_or_refuses(path, store._expected)


@pytest.fixture
def _settled() -> Iterator[None]:
    """orbax closes its event loop while other reads of a failed restore are still under way, and each of those then
    fails in a thread, to nobody: "Event loop is closed". They end here, where that is ignored, lest another test or the
    end of the session is blamed."""
    yield
    for _ in range(10):
        gc.collect()
        time.sleep(0.05)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("_settled")
@fuzz(60)
@given(st.data())
def test_arrays_that_lie(run_directory: Path, store: Store, tmp_path: Path, data: st.DataObject) -> None:
    """Files of the array library changed, and all checksums of ours made right again."""
    path = tmp_path / "checkpoint"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(newest(run_directory), path)
    body = body_of(path)
    file = data.draw(st.sampled_from(sorted(body["files"])))
    content = (path / file).read_bytes()
    for share, piece in data.draw(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), min_size=1, max_size=3)):
        place = int(share * len(content))
        content = content[:place] + piece + content[place + 1 :]
    (path / file).write_bytes(content)
    body["files"][file] = manifest.fingerprint(path / file)
    seal(path, body)
    reads_or_refuses(path, store._expected)


def test_links_and_strange_names_are_refused(run_directory: Path, tmp_path: Path) -> None:
    """Nothing outside the checkpoint is read, whatever its manifest lists."""
    secret = tmp_path / "secret"
    secret.write_text("secret")

    def refuse(damage: Callable[[Path, dict[str, Any]], Any], match: str) -> None:
        path = tmp_path / "checkpoint"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(newest(run_directory), path)
        body = body_of(path)
        damage(path, body)
        seal(path, body)
        with pytest.raises(DamagedError, match=match):
            checkpoint_files.read(path, lambda notes: pytest.fail("read further"))

    fingerprint = manifest.fingerprint(secret)
    refuse(lambda path, body: body["files"].update({"../secret": fingerprint}), "missing")
    refuse(lambda path, body: body["files"].update({str(secret): fingerprint}), "missing")
    refuse(lambda path, body: (path / "extra").touch(), "not part of it")
    refuse(lambda path, body: (path / "link").symlink_to(secret), "neither a file nor a directory")
    refuse(lambda path, body: (path / "folder").symlink_to(tmp_path), "neither a file nor a directory")
    refuse(lambda path, body: os.mkfifo(path / "pipe"), "neither a file nor a directory")


def test_a_newer_format_is_no_damage(run_directory: Path, store: Store, tmp_path: Path) -> None:
    """An older release must not set a newer checkpoint aside."""
    shutil.copytree(newest(run_directory), tmp_path / "checkpoint")
    newer = manifest.FORMAT_VERSION + 1
    seal(tmp_path / "checkpoint", body_of(newest(run_directory)) | {"format_version": newer})
    with pytest.raises(CheckpointError, match=f"format version {newer}, this release reads {newer - 1}") as caught:
        checkpoint_files.read(tmp_path / "checkpoint", store._expected)
    assert not isinstance(caught.value, DamagedError)


def test_sizes_are_compared_before_anything_is_allocated(run_directory: Path, store: Store, tmp_path: Path) -> None:
    shutil.copytree(newest(run_directory), tmp_path / "checkpoint")
    for fill in (10**15, -1, 0, True, 65):
        body = body_of(newest(run_directory))
        body["notes"]["fill"] = fill
        seal(tmp_path / "checkpoint", body)
        with pytest.raises(DamagedError, match="larger than its capacity"):
            checkpoint_files.read(tmp_path / "checkpoint", store._expected)
    body = body_of(newest(run_directory))
    body["arrays"]["state/iteration"] = [[10**12], "int32"]
    seal(tmp_path / "checkpoint", body)
    with pytest.raises(CheckpointError, match="state/iteration is"):
        checkpoint_files.read(tmp_path / "checkpoint", store._expected)


def test_a_policy_file_imports_nothing_unasked(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run_directory), "--episodes", "1"]) == 2
    assert "names resumable:Drift, a class that only --import allows" in capsys.readouterr().err
    assert evaluate.main([str(run_directory), "--episodes", "1", "--import"]) == 0
