"""Draws are `jax.random`'s own bits, alone and mapped, and small ones are one native function of the program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax.xla import random

KEY = jax.random.key(3)
CASES: dict[str, tuple[Callable, Callable, tuple[Any, ...]]] = {
    "uniform": (
        lambda key: random.uniform(key, (64, 2), -1.0, 1.0),
        lambda key: jax.random.uniform(key, (64, 2), minval=-1.0, maxval=1.0),
        (),
    ),
    "normal": (lambda key: random.normal(key, (64, 2)), lambda key: jax.random.normal(key, (64, 2)), ()),
    "randint": (
        lambda key, size: random.randint(key, (64,), 0, size),
        lambda key, size: jax.random.randint(key, (64,), 0, size),
        (np.int32(777),),
    ),
    "split": (lambda key: random.split(key, 4), lambda key: jax.random.split(key, 4), ()),
    "fold_in": (random.fold_in, jax.random.fold_in, (np.int32(7),)),
}


def numbers(x: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


@pytest.mark.parametrize("name", CASES)
def test_the_bits_are_those_of_jax(name: str) -> None:
    """Outside a program, in one, mapped over few keys and over more than one native function takes."""
    ours, theirs, rest = CASES[name]
    expected = numbers(theirs(KEY, *rest))
    np.testing.assert_array_equal(numbers(ours(KEY, *rest)), expected)
    program = jax.jit(ours)
    np.testing.assert_array_equal(numbers(program(KEY, *rest)), expected)
    assert ('xla_cpu_small_call="true"' in program.lower(KEY, *rest).compile().as_text()) == (
        jax.default_backend() == "cpu"
    )
    axes = (0,) + (None,) * len(rest)
    for count in (3, random.LARGEST):
        keys = jax.random.split(KEY, count)
        mapped = jax.jit(jax.vmap(ours, axes))(keys, *rest)
        np.testing.assert_array_equal(numbers(mapped), numbers(jax.vmap(theirs, axes)(keys, *rest)))


@pytest.mark.parametrize("draw", [random.uniform, random.normal])
def test_the_largest_draw_compiles(draw: Callable) -> None:
    """XLA must not divide what is inside a native function among threads."""
    for size in (random.LARGEST, random.LARGEST + 1):
        assert jax.jit(lambda key, size=size: draw(key, (size,)))(KEY).shape == (size,)


def test_float64() -> None:
    with jax.enable_x64(True):
        ours = jax.jit(lambda key: random.normal(key, (8,), jnp.float64))(KEY)
        assert ours.dtype == jnp.float64
        np.testing.assert_array_equal(ours, jax.random.normal(KEY, (8,), jnp.float64))
