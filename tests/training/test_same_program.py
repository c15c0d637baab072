"""A configuration is the same program in every process, or the compilation cache would never find it again."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from sacbrax.core.metrics import Kind, Sums

PROGRAM_TEXTS = Path(__file__).parents[1] / "support" / "program_texts.py"


def test_sums_are_added_in_their_own_order() -> None:
    """A set of thirty names has that order in one process of 30!."""
    ones = Sums.of(Kind.COUNT, {f"metric_{i:02}": jnp.ones(()) for i in range(30)})
    program = jax.make_jaxpr(Sums.plus)(ones, ones).jaxpr
    assert [equation.invars[0] for equation in program.eqns] == program.invars[:30]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("tasks/halfcheetah_v5",),
        ("tasks/inverted_pendulum_v5", "train.num_seeds=2", "algorithm.policy_delay=2", "algorithm.num_critics=3"),
        ("swimmer", "algorithm.name=sac_v1", "policy.kind=gmm", "train.updates_per_step=4", "algorithm.policy_delay=2"),
        ("tasks/inverted_pendulum_v5", "parallel.shards=2"),
    ],
    ids=["halfcheetah", "pendulum", "swimmer", "shards"],
)
def test_whatever_order_sets_have(arguments: tuple[str, ...]) -> None:
    """With two seeds of Python's hashes the texts of all programs are alike."""
    first, second = (_texts(seed, arguments) for seed in (1, 2))
    assert len(first) == 4
    assert first == second


def _texts(hash_seed: int, arguments: tuple[str, ...]) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM_TEXTS), *arguments],
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()
