"""Two transformations that make XLA's CPU compiler emit long elementwise programs well. Neither changes a result.

Left alone, XLA fuses every value into all of its users and computes it again in each (ten times as much work here), and
its runtime dispatches every fusion on its own, which costs more than a short row takes. `computed_once` gives every
value with several users a function of its own, which XLA is told not to inline; `compiled_apart` does so with a whole
loop, which XLA then emits as one native function. Both speak to XLA by two attributes of a call: `inlineable`, and
`xla_cpu_small_call`, with which XLA marks the small loops it treats this way by itself. A compiler that knows them no
more would compile the same program, only slower.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend import core

# Operations of one function. XLA would divide a longer one among threads, which a native function cannot have.
LONGEST = 64


def compiled_apart(f: Callable) -> Callable:
    """`f` on pytrees of arrays, as a call that XLA:CPU compiles to one native function."""

    def call(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        # Traced before the attributes are set: they belong to the call, not to what it does.
        with set_xla_metadata(inlineable="false", xla_cpu_small_call="true"):
            out = jax.jit(core.jaxpr_as_fun(closed))(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return call


class _Value:
    """One intermediate result: the equation that defines it, or its array once that exists."""

    def __init__(self, array: Any = None, equation: Any = None, inputs: list[Any] | None = None) -> None:
        self.array, self.equation, self.inputs = array, equation, inputs or []

    def pending(self) -> dict["_Value", None]:
        """This value and those it needs that have no array yet, in the order to compute them."""
        if self.array is not None:
            return {}
        order: dict[_Value, None] = {}
        for x in self.inputs:
            if isinstance(x, _Value):
                order.update(x.pending())
        order[self] = None
        return order

    def compute(self) -> None:
        """Have `array` computed from existing arrays, in a function of its own if it takes more than one operation."""
        order = self.pending()
        known = list({x: None for value in order for x in value.inputs if isinstance(x, _Value) and x not in order})

        def evaluate(*arrays: Any) -> Any:
            at = dict(zip(known, arrays, strict=True))
            for value in order:
                inputs = [at[x] if isinstance(x, _Value) else x for x in value.inputs]
                at[value] = value.equation.primitive.bind(*inputs, **value.equation.params)
            return at[self]

        arrays = [value.array for value in known]
        self.array = evaluate(*arrays) if len(order) <= 1 else compiled_apart(evaluate)(*arrays)


def computed_once(f: Callable) -> Callable:
    """`f` of elementwise operations on pytrees of arrays, each intermediate result with several users computed once."""

    def call(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        equations: list[tuple[Any, list[Any], list[_Value]]] = []
        outputs = _flatten(closed, [_Value(x) for x in jax.tree.leaves(args)], equations)
        used = [x for _, inputs, _ in equations for x in inputs] + outputs
        users = Counter(x for x in used if isinstance(x, _Value))
        for equation, inputs, results in equations:
            if equation.primitive.name == "while":
                arrays = _loop(equation.params, [_compute(x) for x in inputs])
                for result, array in zip(results, arrays, strict=True):
                    result.array = array
                continue
            (value,) = results
            value.equation, value.inputs = equation, inputs
            pending = len(value.pending()) if users[value] else 0
            if (users[value] > 1 and pending > 1) or pending >= LONGEST:
                value.compute()
        return jax.tree.unflatten(jax.tree.structure(shape), [_compute(x) for x in outputs])

    return call


def _flatten(closed: Any, inputs: list[Any], equations: list[tuple[Any, list[Any], list[_Value]]]) -> list[Any]:
    """Append the equations of a jaxpr, with nested jits inlined, each with its inputs and results; its outputs."""
    at = dict(zip(closed.jaxpr.invars, inputs, strict=True))
    at.update(zip(closed.jaxpr.constvars, map(_Value, closed.consts), strict=True))

    def read(v: Any) -> Any:
        return v.val if isinstance(v, core.Literal) else at[v]

    for equation in closed.jaxpr.eqns:
        arguments = [read(v) for v in equation.invars]
        if equation.primitive.name in ("jit", "pjit"):
            results = _flatten(equation.params["jaxpr"], arguments, equations)
        else:
            results = [_Value() for _ in equation.outvars]
            equations.append((equation, arguments, results))
        at.update(zip(equation.outvars, results, strict=True))
    return [read(v) for v in closed.jaxpr.outvars]


def _compute(x: Any) -> Any:
    if not isinstance(x, _Value):
        return x
    if x.array is None:
        x.compute()
    return x.array


def _loop(params: dict[str, Any], inputs: list[Any]) -> Any:
    """A while loop whose body is computed once as well."""
    a, b = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    condition, body = core.jaxpr_as_fun(params["cond_jaxpr"]), core.jaxpr_as_fun(params["body_jaxpr"])
    return jax.lax.while_loop(
        lambda carry: condition(*inputs[:a], *carry)[0],
        lambda carry: computed_once(body)(*inputs[a:b], *carry),
        inputs[b:],
    )
