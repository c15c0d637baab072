"""The matrix products of a program, by themselves: the same shapes and layouts, one after another.

Small products reach less of a machine's rate than the large ones that measure it; this is the floor of a program that
has such products.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any


def equations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """Every matrix product of a traced program, and how often it runs."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation, times
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner, times * equation.params.get("length", 1))


def operations(equation: Any) -> int:
    """2 m n k of a product."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    inner = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
    return 2 * inner * math.prod(equation.outvars[0].aval.shape)


def alone(function: Callable, *args: Any) -> tuple[Callable[[Any, Any], Any], Any]:
    """`step(operands, i)` with the products that `function(*args)` has, and the operands to start from."""
    import jax

    found = [equation for equation, times in equations(jax.make_jaxpr(function)(*args).jaxpr) for _ in range(times)]
    keys = jax.random.split(jax.random.key(0), (len(found), 2))
    operands = [
        tuple(jax.random.normal(key, x.aval.shape, x.aval.dtype) for key, x in zip(pair, equation.invars, strict=True))
        for pair, equation in zip(keys, found, strict=True)
    ]

    def step(operands: Any, i: Any) -> Any:
        following = []
        for equation, (left, right) in zip(found, operands, strict=True):
            result = equation.primitive.bind(left, right, **equation.params)
            # One element depends on the result, so that no product can be left out or taken out of the loop.
            changed = left.at[(0,) * left.ndim].add(1e-9 * result.ravel()[0].astype(left.dtype))
            following.append((changed, right))
        return following

    return step, operands
