"""Start a run from parts of another one: `init.from` names a run or policy file, `init.parts` what to take from it.

What is loaded is not initialized anew; targets become copies of it, and Adam starts at rest. The observation normalizer
comes along, for without it the networks would see other numbers than they learnt from.
"""

from typing import Any

import jax
import numpy as np

from sacbrax.config import PARTS, Config, ConfigError
from sacbrax.policy_file import files as policy_files
from sacbrax.policy_file.numpy_policy import GAUSSIAN, NumpyPolicy
from sacbrax.training.trainer import TrainState


def load(config: Config, template: TrainState) -> dict[str, Any]:
    """What `init` asks for, arranged like a part of `template` (shapes of a fresh state); empty without `init.from`.

    Raises `ConfigError` or `PolicyFileError` when the source cannot serve this configuration.
    """
    if config.init.from_ is None:
        return {}
    source = policy_files.load_policy(config.init.from_)
    _check(config, source)
    wanted = {PARTS[part] for part in config.init.parts} & set(template.agent.params)
    params = policy_files.parameters(source, {group: template.agent.params[group] for group in wanted})
    if not params:
        raise ConfigError(
            f"init.parts: {config.init.from_} has none of {', '.join(config.init.parts)} that this run needs"
        )
    loaded: dict[str, Any] = {"params": params}
    if config.network.normalize_observations:
        loaded["normalizer"] = {
            "mean": source.arrays["observation_mean"],
            "variance": source.arrays["observation_scale"] ** -2.0,
            "reward_mean": source.arrays.get("reward_mean", 0.0),
            "steps": source.arrays.get("normalizer_steps", 0.0),
        }
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        _check_shape(config, path, leaf, template)
    return loaded


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
    return state.replace(agent=agent, normalizer=state.normalizer.replace(**normalizer))


def _check(config: Config, source: NumpyPolicy) -> None:
    """The networks must mean the same in both runs."""
    mapping, header = config.to_mapping(), source.header
    pairs = {
        "network.activation": (mapping["network"]["activation"], header["activation"]),
        "network.normalize_observations": (
            mapping["network"]["normalize_observations"],
            header["normalize_observations"],
        ),
    }
    if "policy" in config.init.parts:
        there = header.get("policy", GAUSSIAN)
        pairs |= {f"policy.{key}": (mapping["policy"][key], there[key]) for key in ("kind", "squash")}
    for key, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise ConfigError(f"{key}: {ours!r}, but init.from ({config.init.from_}) has {theirs!r}")


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
