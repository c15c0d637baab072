"""Tasks of a user's own: what is wrong with one is one line that names the field; what it raises is its own."""

import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from resumable import environment
from tiny_config import make_tiny

from sacbrax import train as train_door
from sacbrax.config import ConfigError
from sacbrax.envs import make_env
from sacbrax.training.trainer import Trainer

WRONG = {
    "no observation": "observation_size of probes:Broken is 0, should be a whole number from 1 on",
    "tuple of sizes": "observation_size of probes:Broken is (2,), should be a whole number from 1 on",
    "no action": "action_size of probes:Broken is 0, should be a whole number from 1 on",
    "other observation size": "obs in reset of probes:Broken is float32 [2], should be floats [3] as observation_size "
    "says",
    "vector reward": "reward in reset of probes:Broken is float32 [2], should be one float, such as jnp.zeros(())",
    "whole reward": "reward in reset of probes:Broken is int32 [], should be one float, such as jnp.zeros(())",
    "tuple from reset": "the result of reset of probes:Broken is tuple, should be a brax.envs.State",
    "tuple from step": "the result of step of probes:Broken is tuple, should be a brax.envs.State",
    "bool done": "done in step of probes:Broken is bool [], should be float32 [] as in reset",
    "vector reward in step": "reward in step of probes:Broken is float32 [2], should be float32 [] as in reset",
    "new metric": "metrics['speed'] in step of probes:Broken is float32 [], should be absent as in reset",
    "new info": "info['truncation'] in step of probes:Broken is float32 [], should be absent as in reset",
    "observation in step": "obs in step of probes:Broken is float32 [1], should be float32 [2] as in reset",
    "physics": "pipeline_state in step of probes:Broken is float16 [2], should be float32 [2] as in reset",
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_wrong_is_one_line(how: str) -> None:
    with pytest.raises(ConfigError) as error:
        Trainer(make_tiny("env.name=probes:Broken", f"env.kwargs={{how: {how}}}"))
    assert str(error.value) == f"env.name: {WRONG[how]}"


def test_a_tasks_own_error_ends_its_traceback() -> None:
    with pytest.raises(KeyError) as error:
        make_env("probes:Broken", how="error")
    lines = "".join(traceback.format_exception(error.value)).splitlines()
    assert lines[-1] == "KeyError: 'speed'"
    assert any("probes.py" in line for line in lines)


def test_arguments_that_its_class_does_not_take() -> None:
    with pytest.raises(ConfigError, match=r"^env\.kwargs: 'probes:Broken': missing a required argument: 'how'$"):
        make_env("probes:Broken")


MODULES = {
    "syntax": ("def f(:\n", "line 1: invalid syntax"),
    "exits": ("import sys; sys.exit('bye')\n", "it ended the program with 'bye'"),
    "lacks": ("import no_such_thing\n", "No module named 'no_such_thing'"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_cannot_be_imported_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text, line = MODULES[name]
    (tmp_path / f"own_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert train_door.main(["swimmer", f"env.name=own_{name}:Env"]) == 2
    errors = capfd.readouterr().err
    assert errors.startswith(f"error: env.name: cannot import 'own_{name}:Env': ")
    assert line in errors
    assert errors.count("\n") == 1


def test_a_module_that_fails_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "own_fails.py").write_text("limit = 1\n\n\nrate = limit / 0\n")
    command = [sys.executable, "-m", "sacbrax.train", "swimmer", "env.name=own_fails:Env"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert "own_fails.py" in done.stderr
