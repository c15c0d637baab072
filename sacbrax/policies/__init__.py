"""Policies by name. A policy is a network and a distribution; adding one is a new file and a line in `POLICIES`."""

from sacbrax.config import Config
from sacbrax.policies.base import Policy
from sacbrax.policies.gaussian import GaussianPolicy
from sacbrax.policies.gmm import MixturePolicy
from sacbrax.policies.latent import LatentPolicy

POLICIES: dict[str, type[Policy]] = {"gaussian": GaussianPolicy, "gmm": MixturePolicy, "latent": LatentPolicy}


def make_policy(config: Config, action_size: int, inputs: int | None = None) -> Policy:
    """The policy that `policy.kind` names. It sees the first `inputs` entries of an observation, or all."""
    return POLICIES[config.policy.kind](config, action_size, inputs)


__all__ = ["POLICIES", "Policy", "make_policy"]
