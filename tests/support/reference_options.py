"""A combination of options, by key of the configuration, as the configuration it is and as `reference` takes it."""

from typing import Any

import jax
import numpy as np
import reference

from sacbrax.config import from_mapping

# Keys of the algorithm that may follow a schedule: the number, and the ends of a line from step 0 to step 8.
NUMBERS = {
    "reward_scale": (3.0, (2.0, 6.0)),
    "target_entropy": (-1.5, (-3.0, -1.0)),
    "actor_learning_rate": (1e-2, (1e-2, 2e-2)),
    "critic_learning_rate": (3e-3, (1e-3, 9e-3)),
    "value_learning_rate": (4e-3, (2e-3, 8e-3)),
    "temperature_learning_rate": (5e-3, (6e-3, 2e-3)),
}
END = 8
# What the networks of actor and critics may be.
NETWORKS = {
    "plain": {},
    "layer norm": {"actor_layer_norm": True, "critic_layer_norm": True},
    "simba": {"actor_block": "simba", "critic_block": "simba"},
    "weight norm": {"actor_weight_norm": True, "critic_weight_norm": True},
}
OPTIMIZERS = {
    "adam": {},
    "clipped adamw": {"max_grad_norm": 0.05, "weight_decay": 0.2, "adam_b1": 0.8, "adam_b2": 0.95},
}
# What the critics may be.
CRITICS = {
    "scalar": {},
    "categorical": {"kind": "categorical", "num_atoms": 5, "v_min": -4.0, "v_max": 6.0},
    "categorical symlog": {
        "kind": "categorical", "num_atoms": 6, "v_min": -50.0, "v_max": 40.0, "atom_spacing": "symlog",
    },
}  # fmt: skip


def config_of(combination: dict[str, Any]) -> Any:
    mapping: dict[str, Any] = {
        "algorithm": {"tau": 0.1, "initial_temperature": 0.6, **OPTIMIZERS[combination.get("optimizer", "adam")]},
        "policy": {"coupling_hidden_sizes": [4], "log_sigma_min": -1.0, "log_sigma_max": 1.0},
        "network": {"hidden_sizes": [4], **NETWORKS[combination["networks"]]},
        "critic": CRITICS[combination.get("critics", "scalar")],
    }
    for key, value in combination.items():
        if "." in key:
            section, option = key.split(".")
            mapping[section][option] = value
    for key, (number, ends) in NUMBERS.items():
        line = {"schedule": "linear", "values": list(ends), "boundaries": [END]}
        mapping["algorithm"][key] = line if combination["schedules"] else number
    return from_mapping(mapping)


def options_of(config: Any, combination: dict[str, Any]) -> reference.Options:
    algorithm, policy = config.algorithm, config.policy

    def number(key: str) -> reference.Number:
        plain, (start, end) = NUMBERS[key]
        return lambda step: start + (end - start) * step / END if combination["schedules"] else plain

    return reference.Options(
        kind=policy.kind,
        policy_gradient=algorithm.policy_gradient,
        action_prior=algorithm.action_prior,
        policy_q=algorithm.policy_q,
        target_q=algorithm.target_q,
        critics=combination.get("critics", "scalar"),
        atoms=atoms(config.critic),
        squash=policy.squash,
        regularization=policy.regularization,
        target_update_interval=algorithm.target_update_interval,
        activation=config.network.activation,
        networks=combination["networks"],
        components=policy.components,
        log_sigma_bounds=(policy.log_sigma_min, policy.log_sigma_max),
        max_grad_norm=algorithm.max_grad_norm,
        weight_decay=algorithm.weight_decay,
        betas=(algorithm.adam_b1, algorithm.adam_b2),
        tau=algorithm.tau,
        reward_scale=number("reward_scale"),
        target_entropy=number("target_entropy"),
        rates={
            "actor": number("actor_learning_rate"),
            "critic": number("critic_learning_rate"),
            "value": number("value_learning_rate"),
            "log_temperature": number("temperature_learning_rate"),
        },
    )


def atoms(critic: Any) -> Any:
    if critic.v_min is None:
        return None
    if critic.atom_spacing == "linear":
        return np.linspace(critic.v_min, critic.v_max, critic.num_atoms)
    even = np.linspace(-np.log(1 - critic.v_min), np.log(1 + critic.v_max), critic.num_atoms)
    return np.where(even > 0, np.exp(even) - 1, 1 - np.exp(-even))


def to_numpy(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), dict(tree))
