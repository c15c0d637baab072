"""What the algorithms ask of a policy."""

from collections.abc import Callable
from typing import Protocol

from sacbrax.types import Array, Key, Metrics, Params

QFunction = Callable[[Array, Array], Array]  # observation [B, O], action [B, A] -> Q [B]


class Policy(Protocol):
    """A distribution over squashed actions in [-1, 1]^A given an observation; stateless, parameters are passed in."""

    def init(self, key: Key, observation: Array) -> Params:
        """Fresh parameters; observation [1, O] gives the shape."""
        ...

    def sample(self, params: Params, observation: Array, key: Key) -> tuple[Array, Array, Array]:
        """Draw actions: observation [B, O] -> (action [B, A], log_prob [B], pre_tanh [B, A])."""
        ...

    def log_prob(self, params: Params, observation: Array, pre_tanh: Array) -> Array:
        """Log-density of the action tanh(pre_tanh): [B, O], [B, A] -> [B]."""
        ...

    def mode(self, params: Params, observation: Array, q_function: QFunction) -> Array:
        """The deterministic action: [B, O] -> [B, A]. Policies with several candidates choose by Q."""
        ...

    def diagnostics(self, params: Params, observation: Array) -> Metrics:
        """Named averages of the distribution over a batch [B, O], for the log."""
        ...
