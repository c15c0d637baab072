"""An environment whose actions are amplified and clipped, `policy.action_gain`.

A squashed policy comes near a limit of the action only with a large pre-tanh mean, which costs it entropy: where the
best control is bang-bang, as in swimming, maximum entropy keeps it from the limits, and the return down. With a gain
above 1 a part of the policy's range lies beyond the limits. There all actions are the same to the environment, so the
policy can spread out and still hold the limit.
"""

from typing import Any

import jax.numpy as jnp

from sacbrax.core.types import Array
from sacbrax.engines.upstream import State
from sacbrax.envs.wrappers import Wrapper


def amplified(action: Array, gain: float) -> Array:
    """What the environment gets of an action [..., A] in [-1, 1]."""
    return jnp.clip(gain * action, -1.0, 1.0)


class ActionGain(Wrapper):
    """`env` with `gain` times the action, clipped to [-1, 1]; everything else passes through."""

    def __init__(self, env: Any, gain: float) -> None:
        super().__init__(env)
        self.gain = gain

    def step(self, state: State, action: Array) -> State:
        """action [A] in [-1, 1], before the gain."""
        return self.env.step(state, amplified(action, self.gain))
