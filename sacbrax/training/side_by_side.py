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
    structure: Any = struct.field(pytree_node=False)

    @classmethod
    def of(cls, tree: Any) -> "SideBySide":
        """A tree of one number in each leaf."""
        leaves, structure = jax.tree.flatten(tree)
        places: dict[Any, list[int]] = {}
        for place, leaf in enumerate(leaves):
            places.setdefault(leaf.dtype, []).append(place)
        rows = [jnp.stack([leaves[place] for place in group]) for group in places.values()]
        return cls(rows, tuple(map(tuple, places.values())), structure)

    def apart(self) -> Any:
        """The tree again, [...] each."""
        leaves = {
            place: row[..., i]
            for group, row in zip(self.places, self.rows, strict=True)
            for i, place in enumerate(group)
        }
        return jax.tree.unflatten(self.structure, [leaves[place] for place in range(len(leaves))])
