"""The compiler's options for MJX reach every program that steps an environment, and only there where they are known."""

from collections.abc import Callable
from typing import Any

import jax
import jaxlib
import pytest
from conftest import make_tiny

from sacbrax import xla_cpu
from sacbrax.episode import play
from sacbrax.evaluate import evaluate_engine
from sacbrax.gym import TaskEnv, TaskVectorEnv
from sacbrax.policy_file import load_policy
from sacbrax.trainer import Trainer


@pytest.mark.parametrize(
    ("physics", "platform", "version", "given"),
    [
        ("mjx", "cpu", "0.10.2", 1),
        ("mjx", "cpu", "0.11.0", 0),
        ("mjx", "gpu", "0.10.2", 0),
        ("fused", "cpu", "0.10.2", 0),
    ],
)
def test_options_are_for_mjx_on_a_cpu_by_versions_that_know_them(
    physics: str, platform: str, version: str, given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jaxlib, "__version__", version)
    assert len(xla_cpu.options(physics)) == given


def test_the_compiler_knows_them() -> None:
    assert jax.jit(lambda x: x + 1, compiler_options=xla_cpu.options("mjx"))(1) == 2


def programs() -> Any:
    from sacbrax.parallel import Programs

    trainer = Trainer(make_tiny())
    programs = Programs(trainer)
    return programs.compile({"init": (programs.keys(0)[0],)})


DOORS: dict[str, Callable[[], Any]] = {
    "training": programs,
    "evaluate": lambda: evaluate_engine(load_policy("swimmer"), None, 1, 0),
    "render": lambda: play(load_policy("swimmer"), steps=1),
    "gym": lambda: TaskEnv().reset(),
    "gym, many": lambda: TaskVectorEnv(2).reset(),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_hands_them_over(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown by one that no compiler knows."""
    monkeypatch.setattr(xla_cpu, "options", lambda physics: {f"xla_{physics}": True})
    with pytest.raises(Exception, match=r"xla_(fused|probe)"):
        DOORS[door]()
