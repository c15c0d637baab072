"""Arithmetic on arrays [..., N] written out as arithmetic on rows [N], for kernels that hold nothing but rows.

An array becomes a NumPy array of objects, as large as it is but for the lanes N, whose axis has size 1: an entry is a
row, or a scalar where all lanes have the same. What only moves entries about is then NumPy's, and costs a kernel
nothing.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.core.types import Array

LANES = 9973  # while a function is traced: a size that no other axis has
ELEMENTWISE = frozenset(
    (
        *("abs", "add", "add_any", "and", "ceil", "clamp", "convert_element_type", "copy", "cos", "div"),
        *("eq", "exp", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "lt"),
        *("max", "min", "mul", "ne", "neg", "not", "or", "pow", "rem", "rsqrt"),
        *("select_n", "sign", "sin", "sqrt", "square", "stop_gradient", "sub", "tanh", "xor"),
    )
)
Entries = Any  # a NumPy array of objects


class WrittenOut:
    """A function of arrays [N, size] that returns such arrays, for kernels of `lanes` environments."""

    def __init__(self, f: Callable[..., Sequence[Array]], sizes: Sequence[int], dtype: Any, lanes: int) -> None:
        self._closed = jax.make_jaxpr(f)(*(jax.ShapeDtypeStruct((LANES, size), dtype) for size in sizes))
        self._lanes = lanes
        self.sizes = [out.shape[1] for out in self._closed.out_avals]  # of the results

    def __call__(self, *arrays: Sequence[Array]) -> list[list[Array]]:
        """Rows of each array -> rows of each result. Raises `NotImplementedError` for an operation not known here."""
        args = [_entries(rows, (1, len(rows))) for rows in arrays]
        return [self._rows(out, True) for out in self._evaluate(self._closed, args)]

    def _evaluate(self, closed: Any, args: Sequence[Entries]) -> list[Entries]:
        jaxpr = closed.jaxpr
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*map(_constant, closed.consts), *args], strict=True))

        def read(atom: Any) -> Entries:
            return _constant(atom.val) if hasattr(atom, "val") else values[atom]

        for equation in jaxpr.eqns:
            outs = self._apply(equation, [read(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, inputs: list[Entries]) -> list[Entries]:
        name, params = equation.primitive.name, equation.params
        if name in ELEMENTWISE:
            return [_map(functools.partial(_bound, equation.primitive, params), *inputs)]
        if name in MOVES:
            _keeps_lanes(equation)
            return [MOVES[name](inputs, params)]
        if name in REDUCTIONS:
            return [_reduced(REDUCTIONS[name], inputs[0], equation)]
        if name in ("jit", "custom_jvp_call"):
            return self._evaluate(params.get("jaxpr", params.get("call_jaxpr")), inputs)
        if name == "optimization_barrier":
            return inputs
        if name == "while":
            return self._while(inputs, params)
        if name == "scan" and params["num_carry"] == len(equation.outvars) == len(inputs) - params["num_consts"]:
            return self._repeat(inputs, params)
        raise NotImplementedError(f"{equation.primitive} is not known to be written out as rows")

    def _while(self, inputs: list[Entries], params: Any) -> list[Entries]:
        cond, body = params["cond_jaxpr"], params["body_jaxpr"]
        own = params["cond_nconsts"]
        begin = own + params["body_nconsts"]
        pack, unpack = self._packing(body.out_avals)

        def going(values: list[Entries]) -> Array:
            (out,) = self._evaluate(cond, [*inputs[:own], *values])
            return jnp.asarray(out[()]).astype(jnp.int32)

        def step(state: Any) -> Any:
            values = self._evaluate(body, [*inputs[own:begin], *unpack(state[1:])])
            return state[0] - 1 + going(values), *pack(values)

        # Whether to go on is carried, and read in the body, where it is 1: a pass of Triton's falls over what the
        # condition alone reads.
        start = inputs[begin:]
        return unpack(jax.lax.while_loop(lambda state: state[0] > 0, step, (going(start), *pack(start)))[1:])

    def _repeat(self, inputs: list[Entries], params: Any) -> list[Entries]:
        """A `scan` over nothing, which is a loop of so many rounds."""
        body, begin = params["jaxpr"], params["num_consts"]
        pack, unpack = self._packing(body.out_avals)

        def step(_: Any, flat: Any) -> Any:
            return pack(self._evaluate(body, [*inputs[:begin], *unpack(flat)]))

        return unpack(jax.lax.fori_loop(0, params["length"], step, pack(inputs[begin:])))

    def _packing(self, avals: Sequence[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """From values of these shapes to one flat list of arrays, as a loop carries it, and back."""

        def pack(values: Sequence[Entries]) -> list[Array]:
            pairs = zip(values, avals, strict=True)
            return [row for value, aval in pairs for row in self._rows(value, LANES in aval.shape, aval.dtype)]

        def unpack(flat: Sequence[Array]) -> list[Entries]:
            left = iter(flat)
            return [_entries(left, _shape(aval.shape)) for aval in avals]

        return pack, unpack

    def _rows(self, value: Entries, over_lanes: bool, dtype: Any = None) -> list[Array]:
        return [self._row(x, over_lanes, dtype) for x in value.flat]

    def _row(self, x: Any, over_lanes: bool, dtype: Any) -> Array:
        if over_lanes:
            return jnp.broadcast_to(jnp.asarray(x, dtype), (self._lanes,))
        if isinstance(x, jax.core.Tracer):
            return x
        return jax.lax.select_n(np.True_, *[np.asarray(x, dtype)] * 2)  # Triton's loops take no literals


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 if size == LANES else size for size in shape)


def _entries(values: Any, shape: tuple[int, ...]) -> Entries:
    """An array of these objects, as many as the shape has places."""
    left: Iterator[Any] = iter(values)
    out = np.empty(shape, object)
    for place in np.ndindex(shape):
        out[place] = next(left)
    return out


def _constant(value: Any) -> Entries:
    value = np.asarray(value)
    return _entries(value.reshape(-1), value.shape)


def _bound(primitive: Any, params: Any, *entries: Any) -> Any:
    """The operation; what is known while it is traced, such as places in an array, stays known."""
    if any(isinstance(x, jax.core.Tracer) for x in entries):
        return primitive.bind(*entries, **params)
    with jax.ensure_compile_time_eval():
        return np.asarray(primitive.bind(*entries, **params))[()]


def _map(f: Callable[..., Any], *inputs: Entries) -> Entries:
    """`f` of the entries at each place, all rows where one is a row. An array without axes goes with any other."""
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    places = zip(*(np.broadcast_to(x, shape).flat for x in inputs), strict=True)
    return _entries((_alike(f, *entries) for entries in places), shape)


def _alike(f: Callable[..., Any], *entries: Any) -> Any:
    shape = max((np.shape(x) for x in entries), key=len)
    return f(*(x if np.shape(x) == shape else jnp.broadcast_to(x, shape) for x in entries))


def _over_lanes(join: Callable[..., Any], x: Array) -> Array:
    """Of a row one number. A kernel knows the largest and the sum."""
    if join is operator.or_:
        return jnp.max(x.astype(jnp.int32)) > 0 if np.shape(x) else x
    raise NotImplementedError("lanes are joined by `any` alone")


def _reduced(join: Callable[..., Any], value: Entries, equation: Any) -> Entries:
    axes, shape = tuple(equation.params["axes"]), equation.invars[0].aval.shape
    table = np.moveaxis(value, axes, range(len(axes)))
    rest = table.shape[len(axes) :]
    parts = [part.reshape(rest) for part in np.split(table.reshape(-1, *rest), table.size // math.prod(rest))]
    out = functools.reduce(functools.partial(_map, join), parts)
    return _map(functools.partial(_over_lanes, join), out) if LANES in [shape[i] for i in axes] else out


def _keeps_lanes(equation: Any) -> None:
    """Entries say nothing of single lanes: an operation that takes, joins or numbers those is refused."""
    table, result = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    if LANES in table and LANES not in equation.params.get("slice_sizes", result):
        raise NotImplementedError(f"{equation.primitive} of single lanes is not known to be written out as rows")


def _broadcast(inputs: list[Entries], params: Any) -> Entries:
    shape, axes = _shape(params["shape"]), params["broadcast_dimensions"]
    (x,) = inputs
    return np.broadcast_to(x.reshape([x.shape[axes.index(i)] if i in axes else 1 for i in range(len(shape))]), shape)


def _slice(inputs: list[Entries], params: Any) -> Entries:
    (x,) = inputs
    strides = params["strides"] or [1] * x.ndim
    return x[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]


def _pad(inputs: list[Entries], params: Any) -> Entries:
    x, value = inputs
    sides = [(low, high) for low, high, _ in params["padding_config"]]
    numbers = np.pad(np.arange(x.size).reshape(x.shape), sides, constant_values=x.size)
    return _entries([*x.flat, value[()]], (x.size + 1,))[numbers]


def _gather(inputs: list[Entries], params: Any) -> Entries:
    """Where the places are known as JAX does it, with the numbers of the entries; else one entry of a list."""
    x, indices = inputs
    if any(isinstance(i, jax.core.Tracer) for i in indices.flat):
        if x.ndim != 1 or indices.size != 1:
            raise NotImplementedError("gather by computed places is known for one entry of a list alone")
        return _dynamic_slice([x, indices.reshape(())], params).reshape(params["slice_sizes"])
    numbers = np.arange(x.size, dtype=np.int32).reshape(x.shape)
    places = np.asarray(indices.tolist(), np.int32).reshape(indices.shape)
    sizes = _shape(params["slice_sizes"])
    with jax.ensure_compile_time_eval():
        taken = jax.lax.gather(numbers, places, params["dimension_numbers"], sizes, mode=params["mode"])
    return x.reshape(-1)[np.asarray(taken)]


def _dynamic_slice(inputs: list[Entries], params: Any) -> Entries:
    """One entry along an axis, chosen among all there are where its place is computed."""
    x, *starts = inputs
    for axis, (start, size) in enumerate(zip(starts, _shape(params["slice_sizes"]), strict=True)):
        if size == x.shape[axis]:
            continue
        if size != 1:
            raise NotImplementedError("dynamic_slice is known for one entry along an axis alone")
        parts = np.split(x, x.shape[axis], axis)
        x = parts[0]
        for k, part in enumerate(parts[1:], 1):
            x = _map(lambda index, old, new, k=k: jnp.where(index >= k, new, old), start, x, part)
    return x


MOVES: dict[str, Callable[[list[Entries], Any], Entries]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda inputs, params: np.concatenate(inputs, params["dimension"]),
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "pad": _pad,
    "reshape": lambda inputs, params: inputs[0].reshape(_shape(params["new_sizes"])),
    "slice": _slice,
    "squeeze": lambda inputs, params: np.squeeze(inputs[0], params["dimensions"]),
    "stack": lambda inputs, params: np.stack(inputs, params["axis"]),
    "transpose": lambda inputs, params: np.transpose(inputs[0], params["permutation"]),
}
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_max": jnp.maximum,
    "reduce_min": jnp.minimum,
    "reduce_or": operator.or_,
    "reduce_and": operator.and_,
    "reduce_sum": operator.add,
}
