"""Shards: equal parts of one agent's environments, replay and minibatch, and what they compute together.

The training program is written once for a part. Parts that lie on different devices are joined by the mesh axis DEVICE,
parts side by side on one device by the `vmap` axis LANE; with one part no axis exists and every function here is the
identity. So how many shards there are is part of the algorithm, and how many devices hold them is not.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sacbrax.core.types import Array, Key
from sacbrax.xla import random

DEVICE, LANE = "device", "lane"


@dataclasses.dataclass(frozen=True)
class Shards:
    """`count` parts on `devices` devices, the same number on each."""

    count: int = 1
    devices: int = 1

    @property
    def lanes(self) -> int:
        """Shards on each device."""
        return self.count // self.devices

    @property
    def axes(self) -> tuple[str, ...]:
        """The named axes that exist; the shards in their order are numbered 0 to count - 1."""
        return (DEVICE,) * (self.devices > 1) + (LANE,) * (self.lanes > 1)

    def share(self, size: int) -> int:
        """A shard's part of a size that `training.plan` has found divisible."""
        return size // self.count

    def index(self) -> Array | int:
        """This shard's number."""
        return jax.lax.axis_index(self.axes) if self.axes else 0

    def own(self, key: Key) -> Key:
        """This shard's own randomness."""
        return random.fold_in(key, self.index()) if self.axes else key

    def total(self, tree: Any) -> Any:
        """The sum over all shards, the same on each. One message for each dtype, however many leaves there are."""
        if not self.axes:
            return tree
        leaves, structure = jax.tree.flatten(tree)
        sums = list(leaves)
        # Never in the order of a set, which is another one in every process: the program is to be the same in all.
        for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):
            places = [i for i, leaf in enumerate(leaves) if leaf.dtype == dtype]
            message = jax.lax.psum(jnp.concatenate([leaves[i].ravel() for i in places]), self.axes)
            start = 0
            for i in places:
                sums[i] = message[start : start + leaves[i].size].reshape(leaves[i].shape)
                start += leaves[i].size
        return jax.tree.unflatten(structure, sums)

    def mean(self, tree: Any) -> Any:
        """The mean over all shards of floating-point leaves, the same on each."""
        return jax.tree.map(lambda x: x / self.count, self.total(tree)) if self.axes else tree

    def gather(self, tree: Any) -> Any:
        """The leading axes of all shards joined in their order, the same on each."""
        for axis in reversed(self.axes):
            tree = jax.lax.all_gather(tree, axis, tiled=True)
        return tree
