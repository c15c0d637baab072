"""The classes that a configuration chooses by name, and where each lies: a new one is one line here.

Names and paths alone: nothing is imported before it is asked for, so this floor needs none of those above.
"""

import importlib
from typing import Any

ENGINES = {
    "fused": "sacbrax.engines.fused:fused",
    "mjx": "sacbrax.engines.mjx:Mjx",
    "warp": "sacbrax.engines.warp:Warp",
}
ALGORITHMS = {
    "sac_v1": "sacbrax.agents.sac_v1:SACv1",
    "sac_v2": "sacbrax.agents.sac_v2:SACv2",
}
POLICIES = {
    "gaussian": "sacbrax.agents.policies.gaussian:GaussianPolicy",
    "gmm": "sacbrax.agents.policies.mixture:MixturePolicy",
    "latent": "sacbrax.agents.policies.flow:LatentPolicy",
}
CRITICS = {
    "scalar": "sacbrax.agents.critics.scalar:ScalarCritics",
    "categorical": "sacbrax.agents.critics.categorical:CategoricalCritics",
}


def imported(path: str) -> Any:
    """What lies at an import path `module:name`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
