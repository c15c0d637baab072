"""Critics in NumPy float64, written from the equations: values, the distributions behind them, and what fits them.

A return is known as values [B, J] with weights [B, J]; of a mere number J is 1. Complex numbers pass through values and
losses, for gradients by complex step.
"""

from typing import Any

import numpy as np
from reference import Options, Tree, mlp

Distribution = tuple[np.ndarray, np.ndarray]


def log_weights(params: Tree, observation: np.ndarray, action: np.ndarray, options: Options) -> np.ndarray:
    """Of one categorical critic, [B, K]."""
    outputs = mlp(params, np.concatenate([observation, action], axis=1), options, options.networks)
    if "symlog" in options.critics:
        outputs = outputs - np.log(1 + abs(options.atoms))
    outputs = outputs - outputs.real.max(axis=1, keepdims=True)
    return outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))


def critic(params: Tree, observation: np.ndarray, action: np.ndarray, options: Options) -> np.ndarray:
    """The value, [B]."""
    if options.critics == "scalar":
        return mlp(params, np.concatenate([observation, action], axis=1), options, options.networks)[:, 0]
    return (np.exp(log_weights(params, observation, action, options)) * options.atoms).sum(axis=1)


def together(
    critics: list[Tree], observation: np.ndarray, action: np.ndarray, reduction: str, options: Options
) -> Distribution:
    """The return that several critics promise: the smallest one's, or their mixture."""
    q = np.stack([critic(member, observation, action, options) for member in critics])
    if options.critics == "scalar":
        chosen = q.mean(axis=0) if reduction == "mean" else q.min(axis=0)
        return chosen[:, None], np.ones((len(chosen), 1))
    each = np.stack([np.exp(log_weights(member, observation, action, options)) for member in critics])
    rows = np.arange(len(observation))
    weights = each.mean(axis=0) if reduction == "mean" else each[q.argmin(axis=0), rows]
    return np.tile(options.atoms, (len(rows), 1)), weights


def loss(params: Tree, observation: np.ndarray, action: np.ndarray, target: Distribution, options: Options) -> Any:
    """Of one critic: half the mean square, or the mean cross-entropy."""
    values, weights = target
    if options.critics == "scalar":
        mean = (values * weights).sum(axis=1)
        return 0.5 * ((critic(params, observation, action, options) - mean) ** 2).mean()
    wanted = brute_force(values, weights, options.atoms)
    return -(wanted * log_weights(params, observation, action, options)).sum(axis=1).mean()


def brute_force(values: np.ndarray, weights: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """The projection onto the atoms, one value after the other: it goes to both neighbours, the nearer gets more."""
    result = np.zeros((len(values), len(atoms)))
    for row, value, weight in zip(
        np.repeat(np.arange(len(values)), values.shape[1]), values.flat, weights.flat, strict=True
    ):
        value = min(max(value, atoms[0]), atoms[-1])
        below = max(i for i in range(len(atoms) - 1) if atoms[i] <= value)
        share = (value - atoms[below]) / (atoms[below + 1] - atoms[below])
        result[row, below] += weight * (1 - share)
        result[row, below + 1] += weight * share
    return result
