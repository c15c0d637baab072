"""The work of one update, counted and not measured: operations in matrix products, and bytes.

From the shapes of an agent's networks and its `passes`. Of a latent policy one pass of each of its networks.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from sacbrax.agents.agent import Agent, AgentState, Pass
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import Config

FLOAT = 4  # bytes


class Size(NamedTuple):
    """The networks of a parameter group."""

    products: int  # of a row by all layers: multiplications
    first: int  # those of the first layers
    parameters: int
    activations: int  # outputs of all layers, for a row


def update_flops(config: Config, observation: int, action: int) -> int:
    """Operations in the matrix products that one update needs, 2 m n k each.

    With f the products of one forward pass of a network and i those of its first layer, a pass costs f, the gradient
    of its weights f, and the gradient of its hidden layers f - i, to which i is added where the input's is wanted.
    """
    agent, state = _agent(config, observation, action)

    def total(passes: Sequence[Pass]) -> int:
        work = 0
        for group, weights, inputs, share in passes:
            f, i, *_ = _size(state.params[group])
            work += round(share * (f + f * weights + (f - i) * (weights or inputs) + i * inputs))
        return 2 * config.train.batch_size * work

    return _mean(config, agent, total)


def update_bytes(config: Config, observation: int, action: int) -> int:
    """Bytes that one update moves, in 32-bit numbers, if nothing stays in a cache between two uses.

    A parameter: read in the forward and the backward pass; its gradient written and read; Adam reads and writes it and
    its two moments: 10 in all; of a group that rests 1. A target parameter: read in its forward pass; read, and written
    with its source: 4. An activation [B, n]: written and read forward, 2; with its gradient also read again, and the
    gradient written and read, 5. The minibatch itself is gathered (read and written) once.
    """
    agent, state = _agent(config, observation, action)

    def total(passes: Sequence[Pass]) -> int:
        learning = {each.group for each in passes if each.weights}
        numbers = 10 * sum(_size(state.params[group]).parameters for group in learning)
        numbers += sum(_size(state.params[group]).parameters for group in {each.group for each in passes} - learning)
        numbers += 4 * sum(_size(tree).parameters for tree in state.target.values())
        rows = sum(
            round(share * (5 if weights or inputs else 2) * _size(state.params[group]).activations)
            for group, weights, inputs, share in passes
        )
        rows += 2 * (2 * observation + action + 2)
        return FLOAT * (numbers + config.train.batch_size * rows)

    return _mean(config, agent, total)


def gradient_bytes(config: Config, observation: int, action: int) -> int:
    """Bytes of the gradients of all parameters, which devices that share an agent add up."""
    _, state = _agent(config, observation, action)
    return FLOAT * sum(leaf.size for leaf in jax.tree.leaves(state.params))


def network_bytes(config: Config, observation: int, action: int) -> int:
    """Bytes of everything that an agent learns: parameters, targets, moments and counts."""
    _, state = _agent(config, observation, action)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def _mean(config: Config, agent: Agent, work: Callable[[Sequence[Pass]], int]) -> int:
    """Of an update, of which only every `algorithm.policy_delay`-th has the policy's part."""
    delay = config.algorithm.policy_delay
    if delay == 1:
        return work(agent.passes)
    return (work(agent.passes) + (delay - 1) * work(agent.resting_passes)) // delay


def _agent(config: Config, observation: int, action: int) -> tuple[Agent, AgentState]:
    """The algorithm and the shapes of its state."""
    agent = make_agent(config, observation, action)
    return agent, jax.eval_shape(agent.init, jax.random.key(0), make_hyper(config, action))


def _size(tree: Any) -> Size:
    products = first = activations = parameters = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        parameters += math.prod(leaf.shape)
        *_, layer, name = (entry.key for entry in path)
        if name == "kernel":  # [..., m, n], with members in front
            products += math.prod(leaf.shape)
            first += math.prod(leaf.shape) * (layer == "Dense_0")
            activations += math.prod(leaf.shape) // leaf.shape[-2]
    return Size(products, first, parameters, activations)
