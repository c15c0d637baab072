"""The gradient steps after a vector step: one after another, each from a minibatch of its own.

With `algorithm.policy_delay` k they come in groups of k, of which the last has the policy's part. Its place says which
one that is, and no count in the state, so that each is compiled as what it is: the others compute no gradient of the
actor, also where agents side by side are one program, in which a choice by an agent's own count would cost both.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sacbrax.agents.agent import Agent, AgentState
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.core.metrics import Sums
from sacbrax.core.types import Array, Key, Transition
from sacbrax.training.side_by_side import SideBySide

Own = tuple[Transition, Key]  # a minibatch and the randomness of the step
Update = Callable[[AgentState, Own], tuple[AgentState, Sums]]


def alike(agent: Agent, state: AgentState, own: Own, hyper: Hyper) -> tuple[AgentState, Sums]:
    """One gradient step for each leading entry of `own`, [updates, ...]."""
    return _scan(lambda state, own: agent.update(state, own[0], hyper, own[1]), state, own)


def in_groups(
    agent: Agent, state: AgentState, own: Own, hyper: Hyper, size: int, due: Array | None = None
) -> tuple[AgentState, Sums]:
    """The same, where only the last of each group of `size` has the policy's part, and where `due`, bool [], is given,
    only if it says so. All agents of a program must share that one."""

    def resting(state: AgentState, own: Own) -> tuple[AgentState, Sums]:
        return agent.update(state, own[0], hyper, own[1], policy=False)

    def whole(state: AgentState, own: Own) -> tuple[AgentState, Sums]:
        always = jax.eval_shape(resting, state, own)[1].values
        state, sums = agent.update(state, own[0], hyper, own[1])
        return state, sums.per_policy_update(sums.values.keys() - always.keys())

    def last(state: AgentState, own: Own) -> tuple[AgentState, Sums]:
        if due is None:
            return whole(state, own)
        shapes = jax.eval_shape(whole, state, own)[1]
        none = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        def rested(state: AgentState, own: Own) -> tuple[AgentState, Sums]:
            state, sums = resting(state, own)
            return state, none.plus(sums)

        # Two loops of one pass or none: for a branch XLA copies matrices.
        carry, times = (state, none), due.astype(jnp.int32)
        carry = jax.lax.fori_loop(0, 1 - times, lambda _, carry: rested(carry[0], own), carry)
        return jax.lax.fori_loop(0, times, lambda _, carry: whole(carry[0], own), carry)

    def group(state: AgentState, own: Own) -> tuple[AgentState, Sums]:
        final = jax.tree.map(lambda x: x[-1], own)
        if size == 1:
            return last(state, final)
        state, first_sums = _scan(resting, state, jax.tree.map(lambda x: x[:-1], own))
        state, sums = last(state, final)
        return state, first_sums.plus(sums)

    return _scan(group, state, jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), own))


def _scan(update: Update, state: AgentState, own: Own) -> tuple[AgentState, Sums]:
    """Of the sums the totals."""

    def step(state: AgentState, own: Own) -> tuple[AgentState, SideBySide]:
        state, sums = update(state, own)
        return state, SideBySide.of(sums, small=True)

    state, sums = jax.lax.scan(step, state, own)
    return state, jax.tree.map(lambda row: jnp.sum(row, axis=0), sums).apart()
