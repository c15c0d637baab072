"""Start a run from parts of another one: `init.from` names a run or policy file, `init.parts` what to take from it.

What is loaded is not initialized anew; targets become copies of it, and Adam starts at rest. The running statistics
come along: without them the networks would see other observations, and critics other rewards, than they learnt from.
"""

from typing import Any

import jax
import numpy as np

from sacbrax.config import PARTS, Config, ConfigError, flat
from sacbrax.core.errors import MachineError
from sacbrax.policy_file import files as policy_files
from sacbrax.policy_file.numpy_policy import NumpyPolicy, PolicyFileError
from sacbrax.training.trainer import TrainState

# What gives the parameters of a group their meaning; sizes of observations, actions and layers their shapes tell.
COMMON = ("network.activation", "network.normalize_observations")
SIZES = {"actor": "network.actor_hidden_sizes", "critic": "network.critic_hidden_sizes"}


def _own(part: str) -> list[str]:
    """What actor and critics have apart."""
    return [f"network.{part}_{name}" for name in ("block", "layer_norm", "weight_norm", "batch_norm")]


POLICY = ("kind", "squash", "action_gain", "log_sigma_min", "log_sigma_max")
CRITIC = ("kind", "num_atoms", "v_min", "v_max", "atom_spacing")
LATENT = ("coupling_layers", "coupling_hidden_sizes")
MEANING = {
    "actor": (*COMMON, SIZES["actor"], *_own("actor"), *(f"policy.{key}" for key in POLICY)),
    "critic": (*COMMON, SIZES["critic"], *_own("critic"), *(f"critic.{key}" for key in CRITIC), "policy.action_gain"),
    "value": (*COMMON, SIZES["critic"], *_own("critic")),
}


def load(config: Config, template: TrainState) -> dict[str, Any]:
    """What `init` asks for, arranged like a part of `template` (shapes of a fresh state); empty without `init.from`.

    Raises `ConfigError` when the source cannot serve this configuration.
    """
    if config.init.from_ is None:
        return {}
    try:
        source = policy_files.load_policy(config.init.from_)
    except PolicyFileError as error:
        raise MachineError(f"init.from: {error}") from None
    wanted = {PARTS[part] for part in config.init.parts} & set(template.agent.params)
    _check(config, source, wanted)
    params = policy_files.parameters(source, {group: template.agent.params[group] for group in wanted})
    if not params:
        raise ConfigError(
            f"init.parts: {config.init.from_} has none of {', '.join(config.init.parts)} that this run needs"
        )
    with np.errstate(divide="ignore", over="ignore"):
        variance = source.arrays["observation_scale"] ** -2.0
    normalizer = {
        "mean": source.arrays["observation_mean"],
        "variance": variance,
        "reward_mean": source.arrays.get("reward_mean", 0.0),
        "reward_variance": source.arrays.get("reward_variance", 1.0),
        "steps": np.clip(source.arrays.get("normalizer_steps", 0.0), 0, 2**30),  # of 32 bits, and more to come
    }
    if not (np.all(np.isfinite(variance)) and normalizer["reward_variance"] >= 0):
        raise ConfigError(f"init.from: the running statistics of {config.init.from_} are spoilt")
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        _check_shape(config, path, leaf, template)
    if (theirs := source.arrays["observation_mean"].shape[-1]) != (ours := template.normalizer.mean.shape[-1]):
        raise ConfigError(f"init.from: {config.init.from_} observes {theirs} numbers, this task {ours}")
    return {"params": params, "normalizer": normalizer}


def line(config: Config, loaded: dict[str, Any]) -> str:
    """What a run starts with, for the log."""
    return (
        f"starting with {', '.join(part for part in PARTS if PARTS[part] in loaded['params'])} of {config.init.from_}"
    )


def apply(state: TrainState, loaded: dict[str, Any]) -> TrainState:
    """A fresh state with the loaded parts in place, the same in every seed."""
    if not loaded:
        return state

    def put(new: Any, old: Any) -> Any:
        return jax.device_put(np.broadcast_to(np.asarray(new, old.dtype), old.shape), old.sharding)

    agent, params = state.agent, loaded["params"]
    target = {group: params.get(group, tree) for group, tree in agent.target.items()}
    agent = agent.replace(
        params=agent.params | {group: jax.tree.map(put, tree, agent.params[group]) for group, tree in params.items()},
        target=jax.tree.map(put, target, agent.target),
    )
    normalizer = {
        name: put(value, getattr(state.normalizer, name)) for name, value in loaded.get("normalizer", {}).items()
    }
    return state.replace(agent=agent, normalizer=state.normalizer.replace(**normalizer)).begin_average()


def _check(config: Config, source: NumpyPolicy, groups: set[str]) -> None:
    """The networks must mean the same in both runs."""
    ours, theirs = _meaning(config), _meaning(policy_files.network_config(source))
    keys = [key for group, keys in MEANING.items() if group in groups for key in keys]
    if "actor" in groups and config.policy.kind == "latent":
        keys += [f"policy.{key}" for key in LATENT]
    for key in keys:
        if ours[key] != theirs[key]:
            named = "network.hidden_sizes" if key in SIZES.values() and flat(config)[key] is None else key
            raise ConfigError(f"{named}: {ours[key]!r}, but init.from ({config.init.from_}) has {theirs[key]!r}")


def _meaning(config: Config) -> dict[str, Any]:
    """{"section.key": value} with the sizes of networks where they are null."""
    network = config.network
    return flat(config) | {SIZES["actor"]: network.actor_sizes, SIZES["critic"]: network.critic_sizes}


def _check_shape(config: Config, path: Any, leaf: Any, template: TrainState) -> None:
    expected: Any = template.agent.params
    for entry in path:
        expected = expected[entry.key]
    shape = expected.shape[1:] if config.train.num_seeds > 1 else expected.shape
    if leaf.shape != shape:
        name = ".".join(entry.key for entry in path if entry.key != "params")
        raise ConfigError(
            f"init.from: {config.init.from_} has {name} of shape {leaf.shape}, this configuration needs {shape}; "
            "give both the same task, policy and network sizes, or leave the part out of init.parts"
        )
