"""Dropout in the critics (DroQ, arXiv:2110.02034): in an update a share of their hidden units is 0, the others so much
larger that the mean stays. Nothing is dropped where values are asked for to act.

What a pass needs beside parameters travels with them: `masked` adds keys, and without keys a network drops nothing.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from sacbrax.core.types import Array, Key, Params
from sacbrax.xla import random

MASKS = "masks"  # the collection of variables that the key of a network is in


def masked(params: Params, key: Key) -> Params:
    """Parameters of an ensemble, leading axis [E], with which each member drops units of its own."""
    members = len(jax.tree.leaves(params)[0])
    return params | {MASKS: {"key": random.split(key, members)}}


def key_of(network: nn.Module) -> Key | None:
    """Inside a network: its key, if units are to be dropped."""
    return network.get_variable(MASKS, "key") if network.has_variable(MASKS, "key") else None


def drop(x: Array, rate: float, key: Key, layer: int) -> Array:
    """x with a share `rate` of its numbers 0; `layer` says which of the network's masks."""
    keep = random.uniform(random.fold_in(key, layer), x.shape) >= rate
    return jnp.where(keep, x / (1.0 - rate), 0.0)
