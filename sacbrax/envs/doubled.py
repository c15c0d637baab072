"""Whether `privileged_state` begins with `state`, by the program that makes both.

Equal numbers in a few steps would be no proof: noise may be zero, a history full of its first entry. What is traced is
the same in every step. Where the program does not show it, the answer is no, and nothing is lost but memory.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal, Var

from sacbrax.engines.upstream import Env, State

# Calls of a function that keep the order of arguments and results.
CALLS = ("jit", "pjit", "closed_call")


def state_is_doubled(env: Env) -> bool:
    """Whether the dictionaries that `reset` and `step` observe hold `state` [S] once more, as the first S entries of
    `privileged_state` [P]. Both functions are traced, none is run."""
    proven, start = _begins(env.reset, jax.random.key(0))
    if not proven:
        return False
    action = jax.ShapeDtypeStruct((int(env.action_size),), jnp.float32)
    return _begins(env.step, start, action)[0]


def _begins(function: Callable[..., State], *args: Any) -> tuple[bool, Any]:
    """The answer for one function, and the shapes of the state that it returns."""

    def observed(*args: Any) -> Any:
        state: Any = function(*args)
        return state.obs["state"], state.obs["privileged_state"], state

    closed, (short, long, shapes) = jax.make_jaxpr(observed, return_shape=True)(*args)
    if short.ndim != 1 or long.ndim != 1 or short.dtype != long.dtype:
        return False, shapes
    call = _Call(closed.jaxpr)
    first, second = (call.parts(out) for out in closed.jaxpr.outvars[:2])
    return second[: len(first)] == first, shapes


@dataclasses.dataclass(eq=False)
class _Call:
    """One call of a traced function. Calls of one function share its variables, so a variable alone tells nothing."""

    jaxpr: Jaxpr
    arguments: dict[Var, list[Any]] = dataclasses.field(default_factory=dict)  # the parts of each, where that is known

    @cached_property
    def made_by(self) -> dict[Var, Any]:
        return {out: equation for equation in self.jaxpr.eqns for out in equation.outvars}

    @cached_property
    def inner(self) -> dict[int, "_Call"]:
        """The calls among its equations so far, by the equation's identity."""
        return {}

    def parts(self, value: Any) -> list[Any]:
        """What the one-dimensional `value` is made of, end to end. Equal entries are the same array."""
        if isinstance(value, Literal):
            return [object()]
        if value in self.arguments:
            return self.arguments[value]
        equation = self.made_by.get(value)
        if equation is None or value.aval.ndim != 1:
            return [(self, value)]
        name = equation.primitive.name
        if name == "concatenate":
            return [part for operand in equation.invars for part in self.parts(operand)]
        if name in ("convert_element_type", "copy", "reshape") and _alike(equation.invars[0].aval, value.aval):
            return self.parts(equation.invars[0])
        if name in CALLS:
            body = equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"].jaxpr
            if id(equation) not in self.inner:
                given = dict(zip(body.invars, map(self.parts, equation.invars), strict=True))
                self.inner[id(equation)] = _Call(body, given)
            return self.inner[id(equation)].parts(body.outvars[equation.outvars.index(value)])
        return [(self, value)]


def _alike(before: Any, after: Any) -> bool:
    return (before.shape, before.dtype) == (after.shape, after.dtype)
