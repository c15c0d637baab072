"""Write policy files from a trained state, and find them by run, path or name. The format is `numpy_policy`'s."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sacbrax.config import Config
from sacbrax.numpy_policy import FORMAT_VERSION, NumpyPolicy, PolicyFileError, load

BEST = "best_policy.npz"
PRETRAINED = Path(__file__).parent / "pretrained"


def save(path: Path, config: Config, actor: Any, normalizer: Any, sizes: tuple[int, int], note: dict[str, Any]) -> None:
    """Write the actor and normalizer of one agent; sizes are (O, A), note goes into the header as it is."""
    layers = jax.device_get(actor)["params"]
    num_layers = sum(name.startswith("Dense_") for name in layers)
    arrays = {}
    for i in range(num_layers):
        dense, norm = layers[f"Dense_{i}"], layers.get(f"LayerNorm_{i}")
        arrays[f"kernel_{i}"], arrays[f"bias_{i}"] = dense["kernel"], dense["bias"]
        if norm is not None:
            arrays[f"norm_scale_{i}"], arrays[f"norm_bias_{i}"] = norm["scale"], norm["bias"]
    header = {
        "format_version": FORMAT_VERSION,
        "observation_size": sizes[0],
        "action_size": sizes[1],
        "num_layers": num_layers,
        "activation": config.network.activation,
        "layer_norm": config.network.actor_layer_norm,
        "normalize_observations": config.network.normalize_observations,
        "env": config.to_mapping()["env"],
        **note,
    }
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                header=np.asarray(json.dumps(header)),
                observation_mean=np.asarray(normalizer.mean, np.float32),
                observation_scale=np.asarray(1.0 / np.sqrt(np.asarray(normalizer.variance) + 1e-6), np.float32),
                **arrays,
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def find(source: str | Path) -> Path:
    """The policy file of a run directory, a file, or the name of a pretrained policy."""
    path = Path(source)
    if path.is_dir():
        return path / "checkpoints" / BEST
    if path.is_file():
        return path
    named = PRETRAINED / f"{source}.npz"
    if named.is_file() and named.parent == PRETRAINED:
        return named
    known = ", ".join(sorted(file.stem for file in PRETRAINED.glob("*.npz"))) or "none yet"
    raise PolicyFileError(f"{source}: no run directory, policy file or pretrained policy (those are: {known})")


def load_policy(source: str | Path) -> NumpyPolicy:
    """policy(observation [O] or [B, O]) -> action, from a run directory, a policy file or a pretrained name.

    Deterministic, NumPy in and out. Raises `PolicyFileError` with one line when there is no such policy.
    """
    return load(find(source))
