"""The compiler's options for long chains on MJX reach every program that steps an environment, where they are known;
those of one graph on a GPU."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jaxlib
import pytest
from tiny_config import make_tiny

from sacbrax.config import ConfigError
from sacbrax.envs import compiler_options, make_env
from sacbrax.gym import TaskEnv, TaskVectorEnv
from sacbrax.policy_file.files import load_policy
from sacbrax.training.plan import Plan
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer
from sacbrax.view.episode import play
from sacbrax.view.evaluation import evaluate_engine
from sacbrax.xla.compiler_options import one_graph


@pytest.mark.parametrize("name", ["pusher", "ant_v5", "hopper_v5", "probes:Cue", "swimmer"])
def test_a_pusher_on_a_cpu_has_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a robot of many bodies in short chains. The compiler that is there knows what it is given."""
    env = make_env(name, "mjx" if name.endswith("v5") else None)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not compiler_options(env)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    options = compiler_options(env)
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2
    monkeypatch.setattr(jaxlib, "__version__", "0.10.9")
    assert bool(compiler_options(env)) == (name in ("pusher", "ant_v5"))
    monkeypatch.setattr(jaxlib, "__version__", "0.11.0")
    assert not compiler_options(env)


def init() -> Any:
    trainer = Trainer(make_tiny())
    programs = Programs(trainer)
    return programs.compile({"init": (programs.keys(0)[0], trainer.hyper())})


DOORS: dict[str, Callable[[], Any]] = {
    "training": init,
    "evaluate": lambda: evaluate_engine(load_policy("swimmer"), None, 1, 0),
    "render": lambda: play(load_policy("swimmer"), steps=1),
    "gym": lambda: TaskEnv().reset(),
    "gym, many": lambda: TaskVectorEnv(2).reset(),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_hands_them_over(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown by one that no compiler knows."""
    for module in ("sacbrax.envs", "sacbrax.envs.registry", "sacbrax.training.programs", "sacbrax.gym"):
        monkeypatch.setattr(f"{module}.compiler_options", lambda env: {"xla_of_ours": True})
    with pytest.raises(Exception, match="xla_of_ours"):
        DOORS[door]()


def test_a_gpu_that_is_asked_to_makes_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    def options(platform: str, *overrides: str) -> dict[str, Any]:
        device: Any = SimpleNamespace(platform=platform)
        return Programs(Trainer(make_tiny(*overrides)), plan=Plan(devices=(device,)))._options

    assert not options("gpu")
    assert not options("cpu", "run.gpu_graph=true")
    monkeypatch.setattr(jaxlib, "__version__", "0.11.0")
    with pytest.raises(ConfigError, match=r"^run\.gpu_graph: known for jaxlib 0\.10, not for 0\.11\.0"):
        options("gpu", "run.gpu_graph=true")
    monkeypatch.setattr(jaxlib, "__version__", "0.10.9")
    assert options("gpu", "run.gpu_graph=true") == one_graph()


@pytest.mark.skipif(not jaxlib.__version__.startswith("0.10."), reason="options of jaxlib 0.10")
def test_the_compiler_knows_the_options_of_one_graph() -> None:
    assert jax.jit(lambda x: x + 1, compiler_options=one_graph())(1) == 2
