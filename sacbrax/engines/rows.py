"""Arithmetic on rows that knows its constants.

A row is one number of the mechanism: an array over many environments, or a plain float where it is the same in all of
them. Products with 0 and 1 and sums with 0 are not computed, so that what a slide or an upright torso leaves out of the
equations costs nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Row = Any
Rows = list[Row]


def _is(x: Row, value: float) -> bool:
    return isinstance(x, float) and x == value


def mul(a: Row, b: Row) -> Row:
    """a b."""
    if _is(a, 0.0) or _is(b, 0.0):
        return 0.0
    if _is(a, 1.0):
        return b
    if _is(b, 1.0):
        return a
    if _is(a, -1.0):
        return -b
    return -a if _is(b, -1.0) else a * b


def add(*terms: Row) -> Row:
    """The sum of all terms."""
    total: Row = 0.0
    for term in terms:
        if _is(total, 0.0):
            total = term
        elif not _is(term, 0.0):
            total = total + term
    return total


def sub(a: Row, b: Row) -> Row:
    """a - b."""
    if _is(b, 0.0):
        return a
    return -b if _is(a, 0.0) else a - b


def dot(a: Any, b: Any) -> Row:
    """Sum of products."""
    return add(*(mul(x, y) for x, y in zip(a, b, strict=True)))


def plus(a: Any, b: Any) -> tuple[Row, ...]:
    """Vectors added entry by entry."""
    return tuple(add(x, y) for x, y in zip(a, b, strict=True))


def scale(factor: Row, vector: Any) -> tuple[Row, ...]:
    """A vector times a row."""
    return tuple(mul(factor, x) for x in vector)


def column(values: Sequence[float], like: Any) -> Any:
    """Numbers of K nodes or constraints beside each other: a float where all are the same, else [K, 1], an array of
    NumPy's or JAX's as `like` is."""
    if len(set(values)) == 1:
        return float(values[0])
    return like.__array_namespace__().asarray(np.asarray(values, float)[:, None], like.dtype)
