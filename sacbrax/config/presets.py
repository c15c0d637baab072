"""Settings that belong together by name, `algorithm.preset`: what a published variant of soft actor-critic changes.

A preset stands in for defaults alone: whatever a file or an override says wins, and a run's `config.yaml` has all of
it. What belongs to a task and a machine (environments, minibatch, discount, total steps) is in none of them.
"""

from typing import Any, NamedTuple


class Preset(NamedTuple):
    """Settings by key, where they are from, and what of that source they leave out."""

    source: str
    settings: dict[str, Any]
    without: str = ""


# Actions of each dimension with this deviation have an entropy of -1/2, the target of SimBa.
HALF_ENTROPY_SIGMA = 0.1468

PRESETS = {
    "sac": Preset("arXiv:1812.05905", {}),
    "redq": Preset(
        "arXiv:2101.05982",
        {
            "algorithm.num_critics": 10,
            "algorithm.target_critics": 2,
            "algorithm.policy_q": "mean",
            "algorithm.policy_delay": 20,
            "train.updates_per_step": 20,
        },
        "its updates are 20 for each environment step, with one environment",
    ),
    "crossq": Preset(
        "arXiv:1902.05605",
        {
            "algorithm.learning_rate": 1e-3,
            "algorithm.adam_b1": 0.5,
            "algorithm.policy_delay": 3,
            "network.critic_hidden_sizes": [2048, 2048],
            "network.critic_batch_norm": "renorm",
            "network.actor_batch_norm": "renorm",
        },
        "renormalization is there from the first update, without a time of plain batch normalization before it",
    ),
    "simba": Preset(
        "arXiv:2410.09754",
        {
            "algorithm.learning_rate": 1e-4,
            "algorithm.weight_decay": 1e-2,
            "algorithm.initial_temperature": 0.01,
            "algorithm.target_sigma": HALF_ENTROPY_SIGMA,
            "network.normalize_observations": True,
            "network.actor_block": "simba",
            "network.actor_hidden_sizes": [128],
            "network.critic_block": "simba",
            "network.critic_hidden_sizes": [512, 512],
        },
        "one critic where episodes do not end early",
    ),
    "fast_sac": Preset(
        "arXiv:2512.01996",
        {
            "algorithm.learning_rate": 3e-4,
            "algorithm.weight_decay": 1e-3,
            "algorithm.adam_b2": 0.95,
            "algorithm.tau": 0.125,
            "algorithm.initial_temperature": 1e-3,
            "algorithm.target_entropy": 0.0,
            "algorithm.target_q": "mean",
            "algorithm.policy_q": "mean",
            "algorithm.policy_delay": 4,
            "algorithm.normalize_rewards": True,
            "policy.log_sigma_min": -5.0,
            "policy.log_sigma_max": 0.0,
            "critic.kind": "categorical",
            "critic.num_atoms": 101,
            "critic.v_min": -20.0,
            "critic.v_max": 20.0,
            "network.normalize_observations": True,
            "network.activation": "silu",
            "network.actor_hidden_sizes": [512, 256, 128],
            "network.actor_layer_norm": True,
            "network.critic_hidden_sizes": [768, 384, 192],
            "network.critic_layer_norm": True,
        },
        "there rewards are scaled by hand so that returns lie on the support, here by their running spread",
    ),
    "flash_sac": Preset(
        "arXiv:2604.04539",
        {
            "algorithm.learning_rate": 3e-4,
            "algorithm.tau": 0.01,
            "algorithm.initial_temperature": 0.01,
            "algorithm.target_sigma": 0.15,
            "algorithm.policy_delay": 2,
            "algorithm.normalize_rewards": True,
            "critic.kind": "categorical",
            "critic.num_atoms": 101,
            "critic.v_min": -5.0,
            "critic.v_max": 5.0,
            "network.normalize_observations": True,
            "network.actor_block": "simba",
            "network.actor_hidden_sizes": [128, 128],
            "network.actor_weight_norm": True,
            "network.critic_block": "simba",
            "network.critic_hidden_sizes": [256, 256],
            "network.critic_weight_norm": True,
        },
        "its blocks have batch and RMS norm where these have layer norm; its rate falls to half over the run; "
        "its noise is repeated for random times",
    ),
}


def with_preset(mapping: dict[str, Any], name: Any) -> dict[str, Any]:
    """Sections of keys, and below them what the preset says of those that are not there. An unknown name adds nothing:
    the option refuses it."""
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if preset is None:
        return mapping
    filled = dict(mapping)
    for key, value in preset.settings.items():
        section, _, option = key.partition(".")
        present = filled.get(section)
        if present is None or isinstance(present, dict):  # what else it may be is refused by whoever reads it
            filled[section] = {option: value, **(present or {})}
    return filled
