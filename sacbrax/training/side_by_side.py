"""Metrics as few arrays: what is done to all of them is then one operation a type, not one a metric."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.core.types import Array


class SideBySide(struct.PyTreeNode):
    """The numbers of a tree, such as `Sums`: those of each type side by side."""

    rows: list[Array]  # [..., numbers] of each type
    places: tuple[tuple[int, ...], ...] = struct.field(pytree_node=False)  # among the leaves, of each row's numbers
    dtypes: tuple[Any, ...] = struct.field(pytree_node=False)  # of the leaves
    structure: Any = struct.field(pytree_node=False)

    @classmethod
    def of(cls, tree: Any, small: bool = False) -> "SideBySide":
        """A tree of one number in each leaf. Where they are `small`, integers below 2^24 lie among the others."""
        leaves, structure = jax.tree.flatten(tree)
        dtypes = tuple(leaf.dtype for leaf in leaves)
        places: dict[Any, list[int]] = {}
        for place, dtype in enumerate(dtypes):
            places.setdefault(jnp.float32 if small else dtype, []).append(place)
        rows = [jnp.stack([leaves[place].astype(kind) for place in group]) for kind, group in places.items()]
        return cls(rows, tuple(map(tuple, places.values())), dtypes, structure)

    def apart(self) -> Any:
        """The tree again, [...] each."""
        leaves = {
            place: row[..., i].astype(self.dtypes[place])
            for group, row in zip(self.places, self.rows, strict=True)
            for i, place in enumerate(group)
        }
        return jax.tree.unflatten(self.structure, [leaves[place] for place in range(len(leaves))])
