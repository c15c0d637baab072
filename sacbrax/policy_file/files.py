"""Policy files, which are light snapshots of an agent: write them, find them by run, path or name, read parameters.

The format is `numpy_policy`'s.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sacbrax.config import Config, EnvConfig, from_mapping
from sacbrax.config.option import build
from sacbrax.config.sections import SOLVER_LIMITS
from sacbrax.core.errors import one_line
from sacbrax.core.files import replacing
from sacbrax.policy_file import hub
from sacbrax.policy_file.numpy_policy import FORMAT_VERSION, VARIANCE_FLOOR, NumpyPolicy, PolicyFileError, load, shapes

BEST = "best_policy.npz"
SNAPSHOT = "snapshot_{:012d}.npz"  # by env steps
SEED = "seed_{}"  # folder, beside the files of the best seed, of one of several seeds; counted from 0
PRETRAINED = Path(__file__).parent / "pretrained"


def save(
    path: Path,
    config: Config,
    actor: Any,
    normalizer: Any,
    sizes: tuple[int, int],
    note: dict[str, Any],
    others: Mapping[str, Any] | None = None,
) -> None:
    """Write the actor and normalizer of one agent, and its other parameter groups (critic, value, log_temperature).

    sizes are (O, A); note goes into the header as it is. With `others` the file is the light snapshot of an agent.
    """
    groups = jax.device_get({"actor": actor, **(others or {})})
    leaves = jax.tree_util.tree_leaves_with_path(groups)
    arrays: dict[str, Any] = {_name(path): np.asarray(leaf, np.float32) for path, leaf in leaves}
    mapping = config.to_mapping()
    header = {
        "format_version": FORMAT_VERSION,
        "observation_size": sizes[0],
        "action_size": sizes[1],
        "num_layers": _linear_layers(config.network.actor_block, config.network.actor_sizes),
        "critic_num_layers": _linear_layers(config.network.critic_block, config.network.critic_sizes),
        "block": config.network.actor_block,
        "critic_block": config.network.critic_block,
        "activation": config.network.activation,
        "layer_norm": config.network.actor_layer_norm,
        "critic_layer_norm": config.network.critic_layer_norm,
        "weight_norm": config.network.actor_weight_norm,
        "critic_weight_norm": config.network.critic_weight_norm,
        "batch_norm": config.network.actor_batch_norm,
        "critic_batch_norm": config.network.critic_batch_norm,
        "normalize_observations": config.network.normalize_observations,
        "dtype": config.network.dtype,
        "policy": mapping["policy"],
        "critic": mapping["critic"],
        "env": mapping["env"],
        **note,
    }
    with replacing(path, "wb") as file:
        np.savez(
            file,
            header=np.asarray(json.dumps(header)),
            observation_mean=np.asarray(normalizer.mean, np.float32),
            reward_mean=np.asarray(normalizer.reward_mean, np.float32),
            reward_variance=np.asarray(normalizer.reward_variance, np.float32),
            normalizer_steps=np.asarray(normalizer.steps, np.float32),
            observation_scale=np.asarray(1.0 / np.sqrt(np.asarray(normalizer.variance) + VARIANCE_FLOOR), np.float32),
            **arrays,
        )


def _linear_layers(block: str, sizes: Sequence[int]) -> int:
    """How many a network of these hidden sizes has; a block has two."""
    return 2 * len(sizes) + 2 if block == "simba" else len(sizes) + 1


def network_config(policy: NumpyPolicy) -> Config:
    """As much of the configuration as the networks of a file need to mean what they do."""
    header, networks = policy.header, shapes(policy.header, policy.arrays)

    def sizes(name: str) -> list[int] | None:
        return networks[name].hidden_sizes(policy.arrays) if name in networks else None

    critic_sizes = sizes("critic") or sizes("value")
    network = {
        "hidden_sizes": sizes("actor"),
        "critic_hidden_sizes": critic_sizes,
        "activation": header["activation"],
        "actor_layer_norm": header["layer_norm"],
        "critic_layer_norm": header.get("critic_layer_norm", False),
        "actor_weight_norm": header.get("weight_norm", False),
        "critic_weight_norm": header.get("critic_weight_norm", False),
        "actor_batch_norm": header.get("batch_norm", "off"),
        "critic_batch_norm": header.get("critic_batch_norm", "off"),
        "actor_block": header.get("block", "plain"),
        "critic_block": header.get("critic_block", "plain") if critic_sizes else "plain",
        "normalize_observations": header["normalize_observations"],
    }
    return from_mapping({"policy": policy.options, "critic": header.get("critic", {}), "network": network})


def parameters(policy: NumpyPolicy, template: Mapping[str, Any]) -> dict[str, Any]:
    """Parameter groups of a file, arranged like `template`: those whose arrays are all there, in the file's shapes."""
    found = jax.tree_util.tree_map_with_path(lambda path, _: policy.arrays.get(_name(path), np.nan), dict(template))
    return {
        group: tree
        for group, tree in found.items()
        if all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(tree))
    }


def _name(path: Sequence[Any]) -> str:
    """Name in a file of a parameter: critic/params/Dense_0/kernel is critic_kernel_0; the actor's have no prefix."""
    group, *keys = (entry.key for entry in path)
    if not keys:
        return group
    *inner, _, layer, leaf = keys
    module, _, index = layer.partition("_")
    prefix = inner[0] if inner else group
    part = {"Dense": leaf, "LayerNorm": f"norm_{leaf}", "BatchNorm": f"batch_{leaf}"}[module]
    return f"{part}_{index}" if prefix in ("actor", "preprocessor") else f"{prefix}_{part}_{index}"


def pretrained() -> dict[str, Path]:
    """The policies that come with the package: name -> file."""
    return {file.stem: file for file in sorted(PRETRAINED.glob("*.npz"))}


def find(source: str | Path, seed_index: int | None = None) -> Path:
    """The policy file of a run directory, a file, the name of a pretrained policy, or `hf:owner/name` on Hugging Face.

    seed_index: of a run with several seeds, which; the best by evaluation when None.
    """
    path, shipped = Path(source), pretrained().get(str(source))
    # A folder that only happens to have the name of a shipped policy does not hide it.
    if path.is_dir() and (shipped is None or (path / "checkpoints").is_dir()):
        return path / "checkpoints" / (_folder(path, seed_index) if seed_index is not None else "") / BEST
    if seed_index is not None:
        raise PolicyFileError(f"{source}: a seed index chooses among the seeds of a run directory, which this is not")
    if path.is_file():
        return path
    if shipped is not None:
        return shipped
    if str(source).startswith(hub.PREFIX):
        return hub.fetch(str(source))
    known = ", ".join(pretrained()) or "none yet"
    raise PolicyFileError(f"{source}: no run directory, policy file or pretrained policy (those are: {known})")


def _folder(run: Path, seed_index: int) -> str:
    """Where the files of a seed are; a run of one seed has no folder for it."""
    count = sum(1 for _ in (run / "checkpoints").glob(SEED.format("[0-9]*")))
    if not 0 <= seed_index < max(1, count):
        raise PolicyFileError(f"{run}: no seed index {seed_index}; choose from 0 to {max(1, count) - 1}")
    return SEED.format(seed_index) if count else ""


def load_policy(source: str | Path, seed_index: int | None = None) -> NumpyPolicy:
    """policy(observation [O] or [B, O]) -> action, from a run directory, a policy file, a pretrained name or
    `hf:owner/name` on Hugging Face.

    Deterministic, NumPy in and out. seed_index: of a run with several seeds, which (0, 1, ...); the best when None.
    Raises `PolicyFileError` with one line when there is no such policy.
    """
    return load(find(source, seed_index))


def task(policy: NumpyPolicy, engine: str | None = None, *, imports: bool = False) -> tuple[Any, EnvConfig]:
    """The environment that a policy was trained on, or the same on another engine, and its configuration.

    A file may come from a stranger: a class outside the package that it names is imported only with `imports`. Raises
    `PolicyFileError` if it names none that can be made.
    """
    from sacbrax.envs import engine_of, from_config

    try:
        config: EnvConfig = build(EnvConfig, policy.header.get("env"), "env")
        if config.imported and not imports:
            raise PolicyFileError(f"the policy file names {config.name}, a class that only --import allows to import")
        if engine is not None and engine != engine_of(config):  # whose solver has no such caps, or others
            kept = {key: value for key, value in config.kwargs.items() if key not in SOLVER_LIMITS}
            config = dataclasses.replace(config, kwargs=kept)
        return from_config(config, engine), config
    except (ValueError, TypeError) as error:
        raise PolicyFileError(one_line(error, longest=None)) from None
