"""Metrics as few arrays: what is done to all of them is then one operation a type, not one a metric."""

from typing import Any

import jax.numpy as jnp
from flax import struct

from sacbrax.core.types import Array, Metrics


class SideBySide(struct.PyTreeNode):
    """The numbers of each type side by side, and their names."""

    rows: list[Array]  # [..., numbers] of each type
    names: tuple[tuple[str, ...], ...] = struct.field(pytree_node=False)

    @classmethod
    def of(cls, metrics: Metrics) -> "SideBySide":
        """Metrics of one number each."""
        names: dict[Any, list[str]] = {}
        for name in sorted(metrics):
            names.setdefault(metrics[name].dtype, []).append(name)
        rows = [jnp.stack([metrics[name] for name in group]) for group in names.values()]
        return cls(rows, tuple(map(tuple, names.values())))

    def apart(self) -> Metrics:
        """The metrics again, [...] each, in the order of their names."""
        pairs = zip(self.names, self.rows, strict=True)
        return dict(sorted((name, row[..., i]) for names, row in pairs for i, name in enumerate(names)))
