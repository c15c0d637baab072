"""The compiled programs of a run: the trainer's functions, each jitted once, mapped over seeds.

The one place that knows how many agents train side by side.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from sacbrax.trainer import Trainer
from sacbrax.types import Key


class Programs:
    """The compiled functions of a run, one compilation each; with S > 1 seeds every function maps over axis [S].

    The training state is donated: replay exists once, and a state passed in is gone afterwards.
    """

    def __init__(self, trainer: Trainer, num_seeds: int = 1):
        self.num_seeds = num_seeds
        wrap = functools.partial(_over_seeds, num_seeds=num_seeds)
        self.init = jax.jit(wrap(trainer.init, axes=(0,)))
        self.prefill = jax.jit(wrap(trainer.prefill, axes=(0, None)), donate_argnums=0)
        self.epoch = jax.jit(wrap(trainer.epoch, axes=(0, None)), donate_argnums=0)
        self.advance = jax.jit(wrap(trainer.advance, axes=(0, 0, None, None)), donate_argnums=(0, 1))
        self.zero_sums = jax.jit(wrap(trainer.zero_sums, axes=(0,)))
        self.evaluate = jax.jit(wrap(trainer.evaluate, axes=(0, 0)))
        self.diagnose = jax.jit(wrap(trainer.diagnose, axes=(0, None, 0)))

    def keys(self, seed: int) -> tuple[Key, Key]:
        """Training and evaluation keys of seeds seed, seed + 1, ...: [] each for one seed, else [S]."""
        pairs = [jax.random.split(jax.random.key(seed + i)) for i in range(self.num_seeds)]
        if self.num_seeds == 1:
            return pairs[0][0], pairs[0][1]
        return jnp.stack([pair[0] for pair in pairs]), jnp.stack([pair[1] for pair in pairs])


def _over_seeds(function: Any, axes: tuple[int | None, ...], num_seeds: int) -> Any:
    return jax.vmap(function, in_axes=axes) if num_seeds > 1 else function
