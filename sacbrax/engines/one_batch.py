"""An operation of the program whose every nest of `vmap` is one batch.

A primitive is traced once, when it is compiled, for the platform and the whole batch. Knows no engine.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import batching

from sacbrax.core.types import Array


def operation(name: str, shapes: Callable[..., list[Any]]) -> Primitive:
    """Arrays [N, size] -> arrays [N, size], whose abstract values `shapes` gives from those of the arguments; who wants
    it says how it is lowered. Parameters are the program's constants."""
    made = Primitive(name)
    made.multiple_results = True
    made.def_abstract_eval(shapes)
    made.def_impl(lambda *rows, **params: jax.jit(functools.partial(made.bind, **params))(*rows))

    def merge(args: Sequence[Any], axes: Sequence[Any], **params: Any) -> tuple[list[Array], list[int]]:
        """Environments, seeds: any axis joins the batch axis [N]."""
        size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
        full = [batching.bdim_at_front(x, axis, size) for x, axis in zip(args, axes, strict=True)]
        inner = full[0].shape[1]  # an array may be empty, so it does not tell how many rows it has
        many = made.bind(*(x.reshape(size * inner, x.shape[-1]) for x in full), **params)
        return [x.reshape(size, inner, x.shape[-1]) for x in many], [0] * len(many)

    batching.primitive_batchers[made] = merge
    return made
