"""Arrays of one of MJX's models, or of its data, by MuJoCo's names; and the same model with others in their places."""

import difflib
from collections.abc import Mapping
from typing import Any

import jax

from sacbrax.core.types import Array

OFTEN = ("body_mass", "dof_damping", "geom_friction", "opt.gravity")  # named where nothing is near what was asked for


def arrays_of(tree: Any) -> dict[str, Any]:
    """By name, such as "geom_friction" or "opt.gravity", in the order of the leaves."""
    return {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def name_of(path: Any) -> str:
    """Of the leaf at `path`."""
    return jax.tree_util.keystr(path).removeprefix(".")


def replaced(model: Any, fields: Mapping[str, Array]) -> Any:
    """`model` with `fields`. Raises ValueError, one line, for a name or a shape that it has not."""
    if not fields:
        return model
    arrays = arrays_of(model)
    for name, value in fields.items():
        if name not in arrays:
            near = difflib.get_close_matches(name, arrays, 5, 0.5) or [often for often in OFTEN if often in arrays]
            which = f"choose from its {len(arrays)}, such as {', '.join(near)}"
            raise ValueError(f"env.randomize: the model has no array {name}; {which}")
        if arrays[name].shape != value.shape:
            raise ValueError(f"env.randomize: {name} has shape {arrays[name].shape}, not {value.shape}")
    given = {name: value.astype(arrays[name].dtype) for name, value in fields.items()}
    return jax.tree.unflatten(jax.tree.structure(model), list((arrays | given).values()))
