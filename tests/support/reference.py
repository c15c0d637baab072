"""Networks and policies in NumPy float64, written from the equations; knows neither JAX nor the package.

Gradients are by complex step: f'(x) = Im f(x + ih) / h is exact in float64, so the losses are all there is to read.
Everything therefore works on complex numbers: comparisons look at the real part. `reference_critics` has the critics,
`reference_update` the updates.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf

STEP = 1e-25
Tree = Any
Number = Callable[[int], float]


@dataclasses.dataclass(frozen=True)
class Options:
    """What a combination of options means to the update; what a schedule may change is a function of the step."""

    kind: str
    policy_gradient: str
    action_prior: str
    policy_q: str
    target_q: str
    critics: str
    atoms: np.ndarray  # of categorical critics
    squash: bool
    regularization: float
    target_update_interval: int
    activation: str
    networks: str  # what networks but a coupling's are
    components: int
    log_sigma_bounds: tuple[float, float]
    max_grad_norm: float | None
    weight_decay: float | None
    betas: tuple[float, float]
    tau: float
    reward_scale: Number
    target_entropy: Number
    rates: dict[str, Number]


# Trees of parameters: nested dicts of arrays.


def tree_map(function: Any, *trees: Tree) -> Tree:
    if isinstance(trees[0], dict):
        return {key: tree_map(function, *(tree[key] for tree in trees)) for key in trees[0]}
    return function(*trees)


def leaves(tree: Tree) -> list[np.ndarray]:
    return [leaf for value in tree.values() for leaf in leaves(value)] if isinstance(tree, dict) else [tree]


def gradient(loss: Any, tree: Tree) -> Tree:
    """d loss / d every number of the tree."""
    moved = tree_map(lambda leaf: np.array(leaf, complex), tree)
    result = tree_map(np.zeros_like, tree)
    for values, slots in zip(leaves(moved), leaves(result), strict=True):
        for index in np.ndindex(values.shape):
            values[index] += 1j * STEP
            slots[index] = loss(moved).imag / STEP
            values[index] = values[index].real
    return result


# Networks.


def mlp(params: Tree, x: np.ndarray, options: Options, networks: str = "plain") -> np.ndarray:
    layers = params["params"]
    last = sum(name.startswith("Dense") for name in layers) - 1

    def dense(i: int, x: np.ndarray) -> np.ndarray:
        kernel = layers[f"Dense_{i}"]["kernel"]
        if networks == "weight norm" and i < last:
            kernel = kernel / np.sqrt((kernel**2).sum(axis=0)) * layers[f"Dense_{i}"]["scale"]
        return x @ kernel + layers[f"Dense_{i}"]["bias"]

    def norm(i: int, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=1, keepdims=True)
        x = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
        return x * layers[f"LayerNorm_{i}"]["scale"] + layers[f"LayerNorm_{i}"]["bias"]

    def activation(x: np.ndarray) -> np.ndarray:
        return np.tanh(x) if options.activation == "tanh" else np.where(x.real > 0, x, 0.0)

    if networks == "simba":
        x, blocks = dense(0, x), last // 2
        for i in range(blocks):
            x = x + dense(2 * i + 2, activation(dense(2 * i + 1, norm(i, x))))
        return dense(last, norm(blocks, x))
    for i in range(last):
        x = dense(i, x)
        x = activation(norm(i, x) if networks == "layer norm" else x)
    return dense(last, x)


def members(critics: Tree) -> list[Tree]:
    """The critics one by one, of an ensemble along the leading axis of every array."""
    return [tree_map(lambda leaf, i=i: leaf[i], critics) for i in range(len(leaves(critics)[0]))]


def clip(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.where(x.real < low, low, np.where(x.real > high, high, x))


# Policies: `density` is log p(u); `path` is the sample u0 followed along a change of the parameters, its noise kept.


def normal(u: np.ndarray, mean: np.ndarray, log_sigma: np.ndarray) -> np.ndarray:
    return -(0.5 * ((u - mean) / np.exp(log_sigma)) ** 2 + log_sigma + 0.5 * np.log(2 * np.pi)).sum(axis=-1)


def gaussian(actor: Tree, observation: np.ndarray, options: Options) -> tuple[np.ndarray, np.ndarray]:
    mean, log_sigma = np.split(mlp(actor, observation, options, options.networks), 2, axis=1)
    return mean, clip(log_sigma, *options.log_sigma_bounds)


def mixture(actor: Tree, observation: np.ndarray, options: Options) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    output, k = mlp(actor, observation, options, options.networks), options.components
    mean, log_sigma = np.split(output[:, k:], 2, axis=1)
    shape = (len(output), k, -1)
    log_weight = output[:, :k] - np.log(np.exp(output[:, :k]).sum(axis=1, keepdims=True))
    return log_weight, mean.reshape(shape), clip(log_sigma, *options.log_sigma_bounds).reshape(shape)


def conditional(u: np.ndarray, i: int, log_weight: Any, mean: Any, log_sigma: Any) -> tuple[np.ndarray, np.ndarray]:
    """P(U_i <= u_i | u_1 .. u_i-1) of the mixture and its density, [B] each."""
    weight = np.exp(log_weight)
    for j in range(i):
        z = (u[:, None, j] - mean[:, :, j]) / np.exp(log_sigma[:, :, j])
        weight = weight * np.exp(-0.5 * z**2) / np.exp(log_sigma[:, :, j])
    weight = weight / weight.sum(axis=1, keepdims=True)
    z = (u[:, None, i] - mean[:, :, i]) / np.exp(log_sigma[:, :, i])
    density = np.exp(-0.5 * z**2) / np.exp(log_sigma[:, :, i]) / np.sqrt(2 * np.pi)
    return (weight * 0.5 * (1 + erf(z / np.sqrt(2)))).sum(axis=1), (weight * density).sum(axis=1)


def flow(
    actor: Tree, observation: np.ndarray, value: np.ndarray, options: Options, inverse: bool
) -> tuple[Any, Any, Any]:
    """u = f(h) or back; also the log determinant of f and all log scales."""
    features = mlp(actor["preprocessor"], observation, options, options.networks)
    count, log_scales = len(actor) - 1, []
    for i in reversed(range(count)) if inverse else range(count):
        moved = (np.arange(value.shape[1]) + i) % 2 == 0
        x = np.concatenate([np.where(moved, 0.0, value), features], axis=1)
        shift, log_scale = np.split(mlp(actor[f"coupling_{i}"], x, options), 2, axis=1)
        shift = np.where(moved, shift, 0.0)
        log_scale = np.where(moved, clip(log_scale, *options.log_sigma_bounds), 0.0)
        value = (value - shift) * np.exp(-log_scale) if inverse else value * np.exp(log_scale) + shift
        log_scales.append(log_scale)
    return value, np.sum(log_scales, axis=(0, 2)), np.stack(log_scales)


def density(actor: Tree, observation: np.ndarray, u: np.ndarray, options: Options) -> np.ndarray:
    if options.kind == "gaussian":
        return normal(u, *gaussian(actor, observation, options))
    if options.kind == "gmm":
        log_weight, mean, log_sigma = mixture(actor, observation, options)
        return np.log(np.exp(log_weight + normal(u[:, None, :], mean, log_sigma)).sum(axis=1))
    latent, log_det, _ = flow(actor, observation, u, options, inverse=True)
    return normal(latent, np.zeros(1), np.zeros(1)) - log_det


def path(actor: Tree, start: Tree, observation: np.ndarray, u0: np.ndarray, options: Options) -> np.ndarray:
    """Where the sample u0, drawn with the parameters `start`, lies under `actor`."""
    if options.kind == "gaussian":
        mean0, log_sigma0 = gaussian(start, observation, options)
        mean, log_sigma = gaussian(actor, observation, options)
        return mean + np.exp(log_sigma) * (u0 - mean0) / np.exp(log_sigma0)
    if options.kind == "latent":
        latent = flow(start, observation, u0, options, inverse=True)[0]
        return flow(actor, observation, latent, options, inverse=False)[0]
    before, now = mixture(start, observation, options), mixture(actor, observation, options)
    u = u0.astype(complex)
    for i in range(u.shape[1]):  # the same quantile, dimension by dimension, by Newton's method
        quantile = conditional(u0, i, *before)[0]
        for _ in range(2):
            reached, slope = conditional(u, i, *now)
            u[:, i] -= (reached - quantile) / slope
    return u


def log_pi(actor: Tree, observation: np.ndarray, u: np.ndarray, options: Options) -> np.ndarray:
    """log pi(a|s), the tanh's change of variables included."""
    log_det = (2 * (np.log(2) - u - np.log(1 + np.exp(-2 * u)))).sum(axis=1) if options.squash else 0.0
    return density(actor, observation, u, options) - log_det


def squash(u: np.ndarray, options: Options) -> np.ndarray:
    return np.tanh(u) if options.squash else u


def log_prior(action: np.ndarray, options: Options) -> np.ndarray:
    """log p(a) of the action prior, up to the uniform's constant, [..., A] -> [...]."""
    normal_prior = -0.5 * (action**2).sum(axis=-1) - 0.5 * action.shape[-1] * np.log(2 * np.pi)
    return normal_prior if options.action_prior == "normal" else 0.0 * normal_prior


def regularizer(actor: Tree, observation: np.ndarray, options: Options) -> Any:
    if options.kind == "latent":
        u = actor["coupling_0"]["params"]["Dense_0"]["kernel"]
        size = actor["coupling_0"]["params"][f"Dense_{len(actor['coupling_0']['params']) - 1}"]["bias"].size // 2
        centre = np.zeros((len(observation), size), u.dtype)
        return 0.5 * (flow(actor, observation, centre, options, inverse=False)[2] ** 2).mean()
    mean, log_sigma = (gaussian if options.kind == "gaussian" else mixture)(actor, observation, options)[-2:]
    return 0.5 * ((mean**2).mean() + (log_sigma**2).mean())
