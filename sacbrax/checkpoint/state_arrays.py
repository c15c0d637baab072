"""A training state as named arrays on the host, and back: what a checkpoint stores. Bit for bit, and whole.

Names are the paths of the leaves. Replay is taken up to its fill, and its unwritten rest is zeros, as at the start.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ROWS = "state/replay/rows"  # [capacity, row] or, with several seeds, [S, capacity, row]
SLICE_BYTES = 64 * 2**20  # replay travels in slices, so that the device never holds a second one


def take(tree: Any) -> dict[str, np.ndarray]:
    """Copy {"state": TrainState, ...} to the host; the tree may be donated as soon as this returns."""
    leaves = _named(tree)
    fill = int(np.max(jax.device_get(leaves["state/replay/size"])))
    rows = leaves.pop(ROWS)
    # np.array copies: on a CPU device_get may return a view of the buffer that the next epoch overwrites.
    arrays = {name: np.array(jax.device_get(_raw(leaf))) for name, leaf in leaves.items()}
    return arrays | {ROWS: _first_rows(rows, fill)}


def together(tree: Any) -> dict[str, Any]:
    """The same for several processes that write together: device arrays of which each holds a part, replay whole."""
    return {name: _raw(leaf) for name, leaf in _named(tree).items()}


def shardings(template: Any) -> dict[str, Any]:
    """Where each leaf of shapes that know their devices lies, by name."""
    return {name: leaf.sharding for name, leaf in _named(template).items()}


def shapes(template: Any, fill: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype that `take` gives each leaf of a tree like `template` (arrays or shapes) with `fill` rows."""
    found = {}
    for name, leaf in _named(template).items():
        raw = jax.eval_shape(_raw, leaf)
        shape = raw.shape if name != ROWS else (*raw.shape[:-2], fill, raw.shape[-1])
        found[name] = (shape, np.dtype(raw.dtype).name)
    return found


def put(arrays: Mapping[str, Any], template: Any) -> Any:
    """The tree of `template` on the device, from arrays of just the `shapes`, or from device arrays as they are."""

    def restore(path: Any, leaf: Any) -> Any:
        array = arrays[_name(path)]
        if _name(path) == ROWS and array.shape != leaf.shape:
            missing = [(0, whole - part) for whole, part in zip(leaf.shape, array.shape, strict=True)]
            if isinstance(array, jax.Array):
                array = jax.jit(lambda rows: jnp.pad(rows, missing), out_shardings=leaf.sharding)(array)
            else:
                array = np.pad(array, missing)
        device_array = _on_devices(array, getattr(leaf, "sharding", None))
        return jax.random.wrap_key_data(device_array, impl=_key_impl(leaf)) if _is_key(leaf) else device_array

    return jax.tree_util.tree_map_with_path(restore, template)


def _on_devices(array: Any, sharding: Any) -> Any:
    """A copy on a CPU too: the device must own what the first epoch is given to overwrite."""
    if isinstance(array, jax.Array):
        return array
    if sharding is None:
        return jnp.array(array, copy=True)
    parts = [
        jax.device_put(array[index], device, may_alias=False)
        for device, index in sharding.addressable_devices_indices_map(array.shape).items()
    ]
    return jax.make_array_from_single_device_arrays(array.shape, sharding, parts)


def _named(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_impl(leaf: Any) -> Any:
    """The generator of a key of which there may be only the shape."""
    found: list[Any] = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), leaf)
    return found[0]


def _raw(leaf: Any) -> Any:
    """Typed keys as their integers."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


@jax.jit(static_argnums=2)
def _slice(rows: Any, start: Any, length: int) -> Any:
    return jax.lax.dynamic_slice_in_dim(rows, start, length, axis=rows.ndim - 2)


def _first_rows(rows: Any, fill: int) -> np.ndarray:
    *lead, capacity, width = rows.shape
    result = np.empty((*lead, fill, width), rows.dtype)
    length = max(1, min(capacity, SLICE_BYTES // (math.prod(lead) * width * rows.dtype.itemsize)))
    for start in range(0, fill, length):
        start = min(start, capacity - length)  # where a plain slice would reach beyond the end
        stop = min(start + length, fill)
        result[..., start:stop, :] = np.asarray(_slice(rows, start, length))[..., : stop - start, :]
    return result
