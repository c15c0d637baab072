"""Metrics as few arrays: what is done to all of them is then one operation a type, not one a metric."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.core.types import Array


class SideBySide(struct.PyTreeNode):
    """The numbers of a tree, those of each type side by side."""

    rows: list[Array]  # [..., numbers] of each type
    structure: Any = struct.field(pytree_node=False)  # of the tree
    places: tuple[tuple[int, ...], ...] = struct.field(pytree_node=False)  # of each row's numbers among the leaves

    @classmethod
    def of(cls, tree: Any) -> "SideBySide":
        """Of a tree of one number each."""
        leaves, structure = jax.tree.flatten(tree)
        places: dict[Any, list[int]] = {}
        for place, leaf in enumerate(leaves):
            places.setdefault(leaf.dtype, []).append(place)
        rows = [jnp.stack([leaves[place] for place in group]) for group in places.values()]
        return cls(rows, structure, tuple(map(tuple, places.values())))

    def apart(self) -> Any:
        """The tree again, of numbers [...]."""
        pairs = zip(self.places, self.rows, strict=True)
        leaves = {place: row[..., i] for places, row in pairs for i, place in enumerate(places)}
        return jax.tree.unflatten(self.structure, [leaves[place] for place in sorted(leaves)])
