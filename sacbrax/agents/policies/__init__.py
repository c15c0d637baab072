"""Policies by name. A policy is a network and a distribution; adding one is a new file and a line in `POLICIES`."""

from sacbrax.agents.policies.base import Policy
from sacbrax.agents.policies.flow import LatentPolicy
from sacbrax.agents.policies.gaussian import GaussianPolicy
from sacbrax.agents.policies.mixture import MixturePolicy
from sacbrax.config import Config

POLICIES: dict[str, type[Policy]] = {"gaussian": GaussianPolicy, "gmm": MixturePolicy, "latent": LatentPolicy}


def make_policy(config: Config, action_size: int, inputs: int | None = None) -> Policy:
    """The policy that `policy.kind` names. It sees the first `inputs` entries of an observation, or all."""
    return POLICIES[config.policy.kind](config, action_size, inputs)


__all__ = ["POLICIES", "Policy", "make_policy"]
