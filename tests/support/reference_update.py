"""One whole update of SAC-v1 and of SAC-v2 in NumPy float64, from the equations of docs/algorithm.md.

Knows neither JAX nor the package. Samples of the policy are given, for the two sides must share them; everything else
is worked out here.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from reference import (
    Options,
    Tree,
    gradient,
    leaves,
    log_pi,
    log_prior,
    members,
    mlp,
    path,
    regularizer,
    squash,
    tree_map,
)
from reference_critics import Distribution, critic, loss, together

Batch = dict[str, np.ndarray]


@dataclasses.dataclass
class State:
    """Parameters, Adam's moments, the target network, and the number of updates made."""

    params: Tree
    target: Tree
    first_moment: Tree
    second_moment: Tree
    updates: int
    counts: dict[str, int]  # Adam's steps of each group


@dataclasses.dataclass(frozen=True)
class Draws:
    """The policy's samples before tanh: at s for the losses, at s' for SAC-v2's target, at s for its baseline; and the
    critics that have a say in targets, all where there is None."""

    fresh: np.ndarray | None = None
    next: np.ndarray | None = None
    second: np.ndarray | None = None
    members: tuple[int, ...] | None = None

    def heard(self, critics: list[Any]) -> list[Any]:
        """Of all critics, or their values, those that targets are made of."""
        return critics if self.members is None else [critics[i] for i in self.members]


def smallest(q: list[np.ndarray]) -> np.ndarray:
    """The smallest of all critics, by the real part."""
    result = q[0]
    for other in q[1:]:
        result = np.where(other.real < result.real, other, result)
    return result


def reduced(q: list[np.ndarray], reduction: str) -> np.ndarray:
    """One value of those of several critics."""
    if reduction == "mean":
        return sum(q[1:], q[0]) / len(q)
    return smallest(q) if reduction == "min" else q[0]


def q_values(critics: Tree, observation: np.ndarray, action: np.ndarray, options: Options) -> list[np.ndarray]:
    return [critic(member, observation, action, options) for member in members(critics)]


def critic_gradient(params: Tree, batch: Batch, target: Distribution, options: Options) -> Tree:
    """Of each critic's own loss."""
    s, a = batch["observation"], batch["action"]

    def own(member: Tree) -> Tree:
        return gradient(lambda moved: loss(moved, s, a, target, options), member)

    return tree_map(lambda *each: np.stack(each), *map(own, members(params["critic"])))


def actor_gradient(
    params: Tree, s: np.ndarray, u0: np.ndarray, alpha: float, baseline: np.ndarray, options: Options
) -> Tree:
    """Of mean(alpha (log pi - log prior) - Q), through the action or by the score function, and of the regularizer."""

    def policy_q(u: np.ndarray) -> np.ndarray:
        return reduced(q_values(params["critic"], s, squash(u, options), options), options.policy_q)

    def cost(actor: Tree, u: np.ndarray) -> np.ndarray:
        return alpha * (log_pi(actor, s, u, options) - log_prior(squash(u, options), options)) - policy_q(u)

    advantage = cost(params["actor"], u0) + baseline

    def loss(actor: Tree) -> Any:
        if options.policy_gradient == "reparameterized":
            value = cost(actor, path(actor, params["actor"], s, u0, options)).mean()
        else:
            value = (log_pi(actor, s, u0, options) * advantage).mean()
        return value + (options.regularization * regularizer(actor, s, options) if options.regularization else 0.0)

    return gradient(loss, params["actor"])


def update_v1(state: State, batch: Batch, draws: Draws, options: Options, policy: bool) -> State:
    """Algorithm 1 of arXiv:1801.01290 on one minibatch; without `policy` the actor rests."""
    s, p, u = batch["observation"], state.params, draws.fresh
    next_value = mlp(state.target["value"], batch["next_observation"], options, options.networks)[:, 0]
    y = options.reward_scale(state.updates) * batch["reward"] + batch["discount"] * next_value

    def value_of(params: Tree) -> np.ndarray:
        return mlp(params, s, options, options.networks)[:, 0]

    action = squash(u, options)
    q = reduced(draws.heard(q_values(p["critic"], s, action, options)), options.target_q)
    soft_value = q - log_pi(p["actor"], s, u, options) + log_prior(action, options)
    grads = {
        "critic": critic_gradient(p, batch, (y[:, None], np.ones((len(y), 1))), options),
        "value": gradient(lambda params: 0.5 * ((value_of(params) - soft_value) ** 2).mean(), p["value"]),
    }
    if policy:
        grads["actor"] = actor_gradient(p, s, u, 1.0, value_of(p["value"]), options)
    return adam_and_target(state, grads, options)


def update_v2(state: State, batch: Batch, draws: Draws, options: Options, policy: bool) -> State:
    """Algorithm 1 of arXiv:1812.05905 on one minibatch, entropy and temperature relative to the action prior; without
    `policy` actor and temperature rest."""
    s, p = batch["observation"], state.params
    alpha = np.exp(p["log_temperature"])

    def relative_log_pi(observation: np.ndarray, u: np.ndarray) -> np.ndarray:
        return log_pi(p["actor"], observation, u, options) - log_prior(squash(u, options), options)

    def soft_returns(critics: list[Tree], observation: np.ndarray, u: np.ndarray) -> Distribution:
        values, weights = together(critics, observation, squash(u, options), options.target_q, options)
        return values - alpha * relative_log_pi(observation, u)[:, None], weights

    heard = draws.heard(members(state.target["critic"]))
    values, weights = soft_returns(heard, batch["next_observation"], draws.next)
    reward, discount = batch["reward"][:, None], batch["discount"][:, None]
    y = options.reward_scale(state.updates) * reward + discount * values
    grads = {"critic": critic_gradient(p, batch, (y, weights), options)}
    if policy:
        baseline = 0.0
        if draws.second is not None:
            values, own = soft_returns(members(p["critic"]), s, draws.second)
            baseline = (values * own).sum(axis=1)
        surplus = (relative_log_pi(s, draws.fresh) + options.target_entropy(state.updates)).mean()
        grads["actor"] = actor_gradient(p, s, draws.fresh, alpha, baseline, options)
        grads["log_temperature"] = gradient(lambda log_alpha: -log_alpha * surplus, p["log_temperature"])
    return adam_and_target(state, grads, options)


def unit_columns(tree: Tree) -> Tree:
    """Kernels that have a scale of their own, at length 1."""
    if not isinstance(tree, dict):
        return tree
    tree = {name: unit_columns(part) for name, part in tree.items()}
    if "kernel" in tree and "scale" in tree:
        tree["kernel"] = tree["kernel"] / np.linalg.norm(tree["kernel"], axis=-2, keepdims=True)
    return tree


UPDATES: dict[str, Callable[[State, Batch, Draws, Options, bool], State]] = {"sac_v1": update_v1, "sac_v2": update_v2}


def shares_kept(tree: Tree, lost: float, name: str = "") -> Tree:
    """Of each parameter what weight decay leaves: all but of matrices."""
    if isinstance(tree, dict):
        return {key: shares_kept(part, lost, key) for key, part in tree.items()}
    return 1 - lost if name == "kernel" else 1.0


def adam_and_target(state: State, grads: Tree, options: Options) -> State:
    """Adam's next step on every group that has a gradient, clipped and with decay as asked for, at its own rate, then
    the target at its interval."""
    b1, b2 = options.betas
    after = State(dict(state.params), state.target, dict(state.first_moment), dict(state.second_moment), 0, {})
    after.updates, after.counts = state.updates + 1, dict(state.counts)
    for group, gradients in grads.items():
        t = after.counts[group] = state.counts[group] + 1
        rate = options.rates[group](state.updates)
        if options.max_grad_norm is not None:
            norm = np.sqrt(sum((g**2).sum() for g in leaves(gradients)))
            factor = options.max_grad_norm / norm if norm > options.max_grad_norm else 1.0
            gradients = tree_map(lambda g, factor=factor: g * factor, gradients)
        m = tree_map(lambda m, g: b1 * m + (1 - b1) * g, state.first_moment[group], gradients)
        v = tree_map(lambda v, g: b2 * v + (1 - b2) * g**2, state.second_moment[group], gradients)

        def step(p: Any, m: Any, v: Any, kept: Any, rate: float = rate, t: int = t) -> Any:
            return kept * p - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)

        kept = shares_kept(state.params[group], rate * (options.weight_decay or 0.0))
        after.params[group] = unit_columns(tree_map(step, state.params[group], m, v, kept))
        after.first_moment[group], after.second_moment[group] = m, v
    if after.updates % options.target_update_interval == 0:
        followed = {group: after.params[group] for group in state.target}
        mix = lambda old, new: (1 - options.tau) * old + options.tau * new  # noqa: E731
        after.target = tree_map(mix, state.target, followed)
    return after
