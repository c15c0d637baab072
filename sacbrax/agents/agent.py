"""The contract of an algorithm: what the trainer asks of it, and the state that it learns."""

from typing import NamedTuple, Protocol

from flax import struct

from sacbrax.agents import adam
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.policies.base import Policy
from sacbrax.config import Config
from sacbrax.core.metrics import Sums
from sacbrax.core.types import Array, Key, Metrics, Params, Transition


class AgentState(struct.PyTreeNode):
    """Everything learnt: one Adam serves all parameters (it is elementwise), with a rate for each group."""

    params: dict[str, Params]  # by group; "actor" is the policy's
    target: dict[str, Params]  # slow copies of some groups
    optimizer: adam.State
    gradient_steps: Array  # int32 [], updates applied
    bad_updates: Array  # int32 [], updates skipped in a row; stays once it has reached `train.max_bad_updates`


class Pass(NamedTuple):
    """A pass of a minibatch through the networks of a group in one update, for counting its work (`bench`)."""

    group: str
    weights: bool = False  # the gradient of the parameters is wanted
    inputs: bool = False  # the gradient of what goes in is wanted
    share: float = 1.0  # of the group's networks


class Agent(Protocol):
    """An algorithm bound to its networks; stateless, and pure in all its functions. O observations, A actions.

    Observations arrive normalized and minibatches as n-step transitions [B].
    """

    policy: Policy  # of the parameters in the group "actor", which policy files hold
    passes: tuple[Pass, ...]  # of one update
    resting_passes: tuple[Pass, ...]  # of one without the policy's part

    @staticmethod
    def check(config: Config, action_size: int) -> None:
        """Raise `ConfigError` for settings that no agent can have."""
        ...

    @staticmethod
    def hyper(config: Config, action_size: int) -> Hyper:
        """The traced numbers of a configuration, nulls resolved."""
        ...

    def init(self, key: Key, hyper: Hyper) -> AgentState:
        """Fresh parameters, targets as copies."""
        ...

    def act(self, agent: AgentState, observation: Array, key: Key) -> Array:
        """Actions to explore with, [N, O] -> [N, A]."""
        ...

    def act_deterministic(self, agent: AgentState, observation: Array) -> Array:
        """The best known actions, [N, O] -> [N, A]."""
        ...

    def update(
        self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key, policy: bool = True
    ) -> tuple[AgentState, Sums]:
        """One gradient step from one minibatch, and its metrics with their kinds.

        Without `policy`, as in updates between those of `algorithm.policy_delay`, the policy rests.
        """
        ...

    def diagnostics(self, agent: AgentState, batch: Transition, hyper: Hyper, key: Key) -> Metrics:
        """Statistics [] of the networks on a minibatch, for the log; nothing moves."""
        ...
