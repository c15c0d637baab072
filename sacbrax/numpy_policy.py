"""Run a trained policy with NumPy alone: read a policy file, map observations to deterministic actions.

A policy file is an .npz without pickled objects: the arrays of the network, the normalizer, and a JSON header. For
robots, teaching and other simulators; importing this module imports neither JAX nor the rest of the package.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

FORMAT_VERSION = 1
MAX_BYTES = 256 * 2**20  # a policy is small; a file that claims more is not one


class PolicyFileError(ValueError):
    """The file is no policy this version can read; one line for the user."""


def _sigmoid(x: Any) -> Any:
    return 0.5 * (np.tanh(0.5 * x) + 1.0)


def _layer_norm(x: Any, scale: Any, bias: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * scale + bias


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    # the tanh form, as flax computes it
    "gelu": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))),
}


class NumpyPolicy:
    """policy(observation [O] or [B, O]) -> action [A] or [B, A] in [-1, 1], the policy's mode."""

    def __init__(self, header: dict[str, Any], arrays: dict[str, np.ndarray]):
        self.header = header
        self.observation_size: int = header["observation_size"]
        self.action_size: int = header["action_size"]
        self._activation = ACTIVATIONS[header["activation"]]
        self._layers = [(arrays[f"kernel_{i}"], arrays[f"bias_{i}"]) for i in range(header["num_layers"])]
        self._norms = [
            (arrays[f"norm_scale_{i}"], arrays[f"norm_bias_{i}"])
            for i in range(header["num_layers"] - 1 if header["layer_norm"] else 0)
        ]
        self._mean, self._scale = arrays["observation_mean"], arrays["observation_scale"]

    def __call__(self, observation: Any) -> np.ndarray:
        x = np.asarray(observation, np.float32)
        if x.shape[-1:] != (self.observation_size,):
            raise ValueError(f"expected observations of size {self.observation_size}, got shape {x.shape}")
        if self.header["normalize_observations"]:
            x = np.clip((x - self._mean) * self._scale, -10.0, 10.0)
        for i, (kernel, bias) in enumerate(self._layers[:-1]):
            x = x @ kernel + bias
            x = self._activation(_layer_norm(x, *self._norms[i]) if self._norms else x)
        kernel, bias = self._layers[-1]
        return np.tanh((x @ kernel + bias)[..., : self.action_size]).astype(np.float32)


def load(path: str | Path) -> NumpyPolicy:
    """Read a policy file. Raises `PolicyFileError` on anything that is not one."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise PolicyFileError(f"{path}: larger than a policy file can be")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
    except PolicyFileError:
        raise
    except FileNotFoundError:
        raise PolicyFileError(f"{path}: no such file") from None
    except Exception as error:
        raise PolicyFileError(f"{path}: not a policy file ({type(error).__name__})") from None
    _check(path, header, arrays)
    return NumpyPolicy(header, arrays)


def _check(path: Path, header: Any, arrays: dict[str, np.ndarray]) -> None:
    def require(condition: bool, problem: str) -> None:
        if not condition:
            raise PolicyFileError(f"{path}: {problem}")

    require(isinstance(header, dict), "header is not a mapping")
    version = header.get("format_version")
    require(version == FORMAT_VERSION, f"format version {version!r}, this release reads {FORMAT_VERSION}")
    sizes = [header.get(name) for name in ("observation_size", "action_size", "num_layers")]
    require(all(type(size) is int and 0 < size < 2**20 for size in sizes), "sizes are missing")
    require(header.get("activation") in list(ACTIVATIONS), "unknown activation")  # a list: it may be unhashable
    for name in ("normalize_observations", "layer_norm"):
        require(isinstance(header.get(name), bool), f"{name} is missing")
    width, action_size, num_layers = sizes
    for name, value in arrays.items():
        sound = isinstance(value, np.ndarray) and value.dtype == np.float32 and bool(np.all(np.isfinite(value)))
        require(sound, f"{name} is not finite float32")
    absent = np.zeros(())
    for name in ("observation_mean", "observation_scale"):
        require(arrays.get(name, absent).shape == (width,), f"{name} has the wrong shape")
    for i in range(num_layers):
        kernel, bias = arrays.get(f"kernel_{i}", absent), arrays.get(f"bias_{i}", absent)
        fits = kernel.ndim == 2 and kernel.shape[0] == width and bias.shape == kernel.shape[1:]
        require(fits, f"layer {i} has the wrong shape")
        width = kernel.shape[1]
        if header["layer_norm"] and i < num_layers - 1:
            norms = [arrays.get(f"norm_{part}_{i}", absent) for part in ("scale", "bias")]
            require(all(norm.shape == (width,) for norm in norms), f"norm {i} has the wrong shape")
    require(width >= action_size, "the last layer is too narrow")


def spread_latents(count: int, size: int) -> np.ndarray:
    """Distinct points spread over N(0, I), the first at its centre: [count, size]. An additive recurrence."""
    ratio = 2.0
    for _ in range(64):  # the root of x^(size + 1) = x + 1
        ratio = (1.0 + ratio) ** (1.0 / (size + 1))
    steps = ratio ** -np.arange(1.0, size + 1.0)
    uniform = np.clip((0.5 + np.arange(count)[:, None] * steps) % 1.0, 1e-6, 1.0 - 1e-6)
    return np.vectorize(NormalDist().inv_cdf)(uniform).astype(np.float32)
