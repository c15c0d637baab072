"""What the algorithms ask of a policy, and what all policies share: squashing, and choosing among candidates by Q.

Knows no losses: a policy is told nothing of rewards.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sacbrax.agents.distributions import tanh_log_det
from sacbrax.config import Config
from sacbrax.core.types import Array, Key, Metrics, Params

QFunction = Callable[[Array, Array], Array]  # observation [B, O], action [B, A] -> Q [B]


class Policy(ABC):
    """A distribution over actions given an observation; stateless, parameters are passed in.

    A subclass describes the distribution of u. The action is tanh(u), in [-1, 1]^A; with `policy.squash` off it is u
    itself, and environments clip it. With `inputs` it sees only so many of the first entries of an observation.
    """

    def __init__(self, config: Config, action_size: int, inputs: int | None = None):
        self._squashed = config.policy.squash
        self._log_sigma_bounds = (config.policy.log_sigma_min, config.policy.log_sigma_max)
        self._action_size = action_size
        self._initial_sigma = config.policy.initial_sigma

    @abstractmethod
    def init(self, key: Key, observation: Array) -> Params:
        """Fresh parameters; observation [1, O] gives the shape."""

    @abstractmethod
    def draw(self, params: Params, observation: Array, key: Key) -> tuple[Array, Array]:
        """Draw u with the gradient of a sample: [B, O] -> (u [B, A], log p(u) [B])."""

    @abstractmethod
    def log_density(self, params: Params, observation: Array, pre_tanh: Array) -> Array:
        """log p(u): [B, O], [B, A] -> [B]."""

    @abstractmethod
    def candidates(self, params: Params, observation: Array) -> Array:
        """The values of u among which the deterministic action is chosen: [B, O] -> [B, C, A]."""

    @abstractmethod
    def regularization(self, params: Params, observation: Array) -> Array:
        """What `policy.regularization` weighs in the actor loss: [B, O] -> []."""

    @abstractmethod
    def diagnostics(self, params: Params, observation: Array) -> Metrics:
        """Named averages of the distribution over a batch [B, O], for the log."""

    def sample(self, params: Params, observation: Array, key: Key) -> tuple[Array, Array, Array]:
        """Draw actions: observation [B, O] -> (action [B, A], log_prob [B], pre_tanh [B, A])."""
        pre_tanh, log_prob = self.draw(params, observation, key)
        return self._squash(pre_tanh), self._change_of_variables(log_prob, pre_tanh), pre_tanh

    def log_prob(self, params: Params, observation: Array, pre_tanh: Array) -> Array:
        """Log-density of the action that `pre_tanh` becomes: [B, O], [B, A] -> [B]."""
        return self._change_of_variables(self.log_density(params, observation, pre_tanh), pre_tanh)

    def mode(self, params: Params, observation: Array, q_function: QFunction) -> Array:
        """The deterministic action, the candidate of highest Q: [B, O] -> [B, A]."""
        actions = self._squash(self.candidates(params, observation))
        if actions.shape[1] == 1:
            return actions[:, 0]
        q = jax.vmap(q_function, in_axes=(None, 1), out_axes=1)(observation, actions)
        return jnp.take_along_axis(actions, jnp.argmax(q, axis=1)[:, None, None], axis=1)[:, 0]

    def _with_initial_sigma(self, params: Params, outputs: np.ndarray) -> Params:
        """Fresh parameters of the network whose outputs at these places are log sigmas, which with
        `policy.initial_sigma` are then that in every state: the last layer has its bias there, and no weights."""
        if self._initial_sigma is None:
            return params
        layers = params["params"]
        last = max((name for name in layers if name.startswith("Dense_")), key=lambda name: int(name[6:]))
        layer = dict(layers[last])
        layer["kernel"] = layer["kernel"].at[:, outputs].set(0.0)
        layer["bias"] = layer["bias"].at[outputs].set(math.log(self._initial_sigma))
        return {**params, "params": {**layers, last: layer}}

    def _squash(self, pre_tanh: Array) -> Array:
        return jnp.tanh(pre_tanh) if self._squashed else pre_tanh

    def _change_of_variables(self, log_density: Array, pre_tanh: Array) -> Array:
        return log_density - tanh_log_det(pre_tanh) if self._squashed else log_density
