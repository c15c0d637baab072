"""What a model has and an engine does not know of: accelerations that differ from MuJoCo's give it away."""

import copy
from types import ModuleType
from typing import Any

import mujoco
import pytest
from mujocos_own import load

from sacbrax.engines.fused import fused
from sacbrax.engines.planar import engine as planar
from sacbrax.engines.space import engine as space
from sacbrax.engines.swimmer import engine as swimmer


def damped(model: mujoco.MjModel) -> None:
    model.dof_damping[-1] += 1e-3


def sprung(model: mujoco.MjModel) -> None:
    model.jnt_stiffness[-1] += 1e-3


def heavier(model: mujoco.MjModel) -> None:
    model.body_mass[-1] *= 1.001


@pytest.mark.parametrize(
    ("module", "reading", "name", "changes"),
    [
        (planar, "read_mechanism", "inverted_double_pendulum", [damped, sprung, heavier]),
        (space, "read_mechanism", "ant", [damped, sprung, heavier]),
        (swimmer, "read_chain", "swimmer", [damped, heavier]),  # one with springs is refused by name
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_is_not_as_it_was_read_is_refused(
    module: ModuleType, reading: str, name: str, changes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that overlooks something reads the model that would lack it."""
    model, read = load(name), getattr(module, reading)
    assert type(fused(model, 2)).__module__ == module.__name__
    for change in changes:
        other = copy.copy(model)
        change(other)
        monkeypatch.setattr(module, reading, lambda _, *options, other=other: read(other, *options))
        with pytest.raises(ValueError, match=r"env\.engine=fused does not cover some.* differ from MuJoCo's"):
            fused(model, 2)
