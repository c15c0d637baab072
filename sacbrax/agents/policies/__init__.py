"""Policies by name. A policy is a network and a distribution; a new one is one new file and one line in
`config.named.POLICIES`."""

from sacbrax.agents.policies.base import Policy
from sacbrax.config import Config
from sacbrax.config.named import POLICIES, imported


def make_policy(config: Config, action_size: int, inputs: int | None = None) -> Policy:
    """The policy that `policy.kind` names. It sees the first `inputs` entries of an observation, or all."""
    policy: Policy = imported(POLICIES[config.policy.kind])(config, action_size, inputs)
    return policy


__all__ = ["Policy", "make_policy"]
