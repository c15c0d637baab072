"""What is carried of a state's physics: what steps read, also by way of further steps, and no more."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from sacbrax.engines.upstream import State
from sacbrax.envs.carried import Carrier, read_by


class Physics(struct.PyTreeNode):
    """`shown` is observed; `next_shown` is what it becomes, `later` what that becomes; `derived` is computed anew."""

    derived: Any  # [3]
    later: Any
    next_shown: Any
    shown: Any
    counter: Any  # int, of steps, which nothing shows


def step(state: State, action: Any) -> State:
    old: Any = state.pipeline_state
    new = Physics(
        derived=jnp.full(3, old.shown), later=old.later + action, next_shown=old.later, shown=old.next_shown,
        counter=old.counter + 1,
    )  # fmt: skip
    return state.replace(pipeline_state=new, obs=new.shown, reward=new.shown)


def start() -> State:
    return State(Physics(jnp.zeros(3), *(jnp.asarray(x) for x in (1.0, 2.0, 3.0, 4))), *jnp.zeros(3), {}, {})


def test_what_a_later_step_shows_is_carried() -> None:
    assert read_by(step, start(), jnp.zeros(())) == [False, True, True, False, False]


def test_steps_from_what_is_carried_show_what_steps_of_the_whole_show() -> None:
    carrier = Carrier(step, start(), jnp.zeros(()))
    whole, state = start(), carrier.reduced(start())
    for action in (0.5, -2.0, 1.0, 4.0):
        whole, state = step(whole, action), carrier.reduced(step(carrier.whole(state), action))
        np.testing.assert_array_equal(state.obs, whole.obs)
    assert jax.tree.leaves(state.pipeline_state) == jax.tree.leaves(whole.pipeline_state)[1:3]


def test_what_all_environments_have_as_one_is_given_to_each_step_and_not_carried() -> None:
    """Here it is read, which shows that it is what was given."""
    carrier = Carrier(step, start(), jnp.zeros(()), common={"later": np.float32(7.0)})
    state = carrier.reduced(start())
    assert state.pipeline_state.arrays.keys() == {"next_shown"}  # type: ignore[union-attr]
    for expected in (2.0, 7.0):
        state = carrier.reduced(step(carrier.whole(state), 0.0))
        assert float(state.obs) == expected
