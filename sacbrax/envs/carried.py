"""What is carried of a mechanism's state from one step to the next: what the next step reads, found in its program.

MJX's data of a walking robot are 119 arrays, of which a step reads some ten; the others it computes anew.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from flax import struct
from jax.interpreters.partial_eval import dce_jaxpr

from sacbrax.core.types import Array
from sacbrax.engines.model_fields import arrays_of
from sacbrax.engines.upstream import State


class Carried(struct.PyTreeNode):
    """Arrays of MJX's data by where they are in it, such as `qpos`."""

    arrays: dict[str, Array]

    @property
    def qpos(self) -> Array | None:
        """Joint positions [nq], for whoever draws them; None where no step reads them."""
        return self.arrays.get("qpos")


class Carrier:
    """Puts what `step` reads of a state's physics in the place of all of it, and back.

    step: a state as `start` and an action -> the state after. What it gives of the physics that no step reads is not
    to be seen any more; everything else is the same to the bit. Another model may make another program: it needs a
    carrier of its own. `common` are arrays of the physics that all environments have as one, and that no step reads
    before it has written them: they are not carried, and are given to each step as they are here.
    """

    def __init__(
        self,
        step: Callable[[State, Any], State],
        start: State,
        action: Any,
        common: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        arrays, self._structure = arrays_of(start.pipeline_state), jax.tree.structure(start.pipeline_state)
        read = dict(zip(arrays, read_by(step, start, action), strict=True))
        self._names, self._read = list(arrays), [n for n, is_read in read.items() if is_read and n not in common]
        self._others = {  # nobody reads their values
            name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in arrays.items() if not read[name]
        } | dict(common)

    def reduced(self, state: State) -> State:
        """`state` with what is carried of its physics."""
        arrays = arrays_of(state.pipeline_state)
        physics: Any = Carried({name: arrays[name] for name in self._read})
        return state.replace(pipeline_state=physics)

    def whole(self, state: State) -> State:
        """A reduced `state` as the task's own step takes it."""
        arrays = state.pipeline_state.arrays | self._others
        return state.replace(pipeline_state=jax.tree.unflatten(self._structure, [arrays[n] for n in self._names]))


def read_by(step: Callable[[State, Any], State], start: State, action: Any) -> list[bool]:
    """Of each array of the physics in `start`, whether anything that steps show, now or later, depends on it: all of a
    state but its physics is shown. `start` and `action` may be shapes."""
    jaxpr = jax.make_jaxpr(step)(start, action).jaxpr
    nothing: Any = jax.tree.map(lambda _: False, start.pipeline_state)
    needed = jax.tree.leaves(jax.tree.map(lambda _: True, start).replace(pipeline_state=nothing))
    while True:  # what is read now must have been right after the step before
        _, read = dce_jaxpr(jaxpr, needed)
        read = [a or b for a, b in zip(needed, read[: len(needed)], strict=True)]
        if read == needed:
            structure = jax.tree.structure(start)
            return jax.tree.leaves(jax.tree.unflatten(structure, read).pipeline_state)
        needed = read
