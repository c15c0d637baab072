"""Policy files of random agents, to be read back."""

import jax
import numpy as np

from sacbrax.agents.normalizer import Normalizer
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import from_mapping
from sacbrax.policy_file import files as policy_files

O, A = 2, 2


def saved(
    path,
    kind="gmm",
    norm=False,
    squash=True,
    others=True,
    seed=1,
    algorithm="sac_v1",
    network=None,
    critic=None,
    **options,
):
    """A random agent of SAC-v1 in a file; (agent, parameters, normalizer)."""
    config = from_mapping(
        {
            "env": {"name": "probes:Cue"},
            "algorithm": {"name": algorithm},
            "policy": {"kind": kind, "squash": squash, "components": 3, "candidates": 8} | options,
            "critic": critic or {},
            "network": {
                "hidden_sizes": [16, 16],
                "actor_layer_norm": norm,
                "critic_layer_norm": norm,
                "normalize_observations": norm,
            }
            | (network or {}),
        }
    )
    agent = make_agent(config, O, A)
    rng = np.random.default_rng(seed)
    fresh = agent.init(jax.random.key(0), make_hyper(config, A)).params
    params = jax.tree.map(lambda p: p + 0.2 * rng.normal(size=p.shape).astype(np.float32), fresh)
    normalizer = Normalizer.create(O)
    normalizer = normalizer.replace(mean=normalizer.mean + 0.3, variance=normalizer.variance * 4.0, steps=np.int32(7))
    rest = {name: group for name, group in params.items() if name != "actor"} if others else None
    policy_files.save(path, config, params["actor"], normalizer, (O, A), {}, rest)
    return agent, params, normalizer
