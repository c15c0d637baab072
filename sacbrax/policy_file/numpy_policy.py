"""Run a trained policy with NumPy alone: read a policy file, map observations to actions.

A policy file is an .npz without pickled objects: the arrays of the actor, of critics and value where they are kept, of
the normalizer, and a JSON header. For robots, teaching, plots and other simulators; importing this module imports
neither JAX nor, but for `numpy_network` and `numpy_support`, the rest of the package.
"""

import json
import math
import zipfile
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from sacbrax.policy_file import numpy_support
from sacbrax.policy_file.numpy_network import ACTIVATIONS, BATCH_NORMS, BLOCKS, Network, Shape
from sacbrax.policy_file.numpy_support import Support

FORMAT_VERSION = 3
# 1 had neither the type of the networks in training nor the variance of the reward, 2 had plain layers alone.
READABLE = (1, 2, 3)
MAX_BYTES = 256 * 2**20  # a policy is small; a file that claims more is not one
# How networks see an observation, which all that run a policy must do alike: less the mean, over the square root of the
# variance and `VARIANCE_FLOOR`, cut at `LIMIT` standard deviations.
LIMIT, VARIANCE_FLOOR = 10.0, 1e-6
GAUSSIAN = {"kind": "gaussian", "squash": True, "log_sigma_min": -20.0, "log_sigma_max": 2.0}  # where a header has none


SCALAR = {"kind": "scalar"}


class PolicyFileError(ValueError):
    """The file is no policy this version can read; one line for the user."""


def shapes(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Shape]:
    """Every network of a policy file by name; `critic` and `value` only where the file holds them."""
    o, a, options = header["observation_size"], header["action_size"], header.get("policy", GAUSSIAN)

    def actor(outputs: int) -> Shape:
        options = {name: header[name] for name in ("block", "weight_norm", "batch_norm") if name in header}
        return Shape("", header["num_layers"], header["layer_norm"], seen, outputs, **options)

    def critic(prefix: str, inputs: int, outputs: int, members: int | None = None) -> Shape:
        names = ("layer_norm", "block", "weight_norm", "batch_norm")
        options = {name: header[f"critic_{name}"] for name in names if f"critic_{name}" in header}
        depth = header.get("critic_num_layers", header["num_layers"])
        return Shape(prefix, depth, inputs=inputs, outputs=outputs, members=members, **{"layer_norm": False} | options)

    seen = header.get("actor_observation_size", o)
    if options["kind"] == "latent":
        features = options["feature_size"] or 2 * a
        found = {"actor": actor(features)}
        for i in range(options["coupling_layers"]):
            name, layers = f"coupling_{i}", len(options["coupling_hidden_sizes"]) + 1
            found[name] = Shape(f"{name}_", layers, False, a + features, 2 * a)
    else:
        outputs = options["components"] * (1 + 2 * a) if options["kind"] == "gmm" else 2 * a
        found = {"actor": actor(outputs)}
    if (kernel := arrays.get("critic_kernel_0")) is not None:
        atoms = header["critic"]["num_atoms"] if support(header) else 1
        found["critic"] = critic("critic_", o + a, atoms, len(kernel) if kernel.ndim else 0)
    if "value_kernel_0" in arrays:
        found["value"] = critic("value_", o, 1)
    return found


def support(header: dict[str, Any]) -> Support | None:
    """Of categorical critics."""
    options = header.get("critic", SCALAR)
    return Support(options) if options["kind"] == "categorical" else None


class NumpyPolicy:
    """policy(observation [O] or [..., O]) -> action [A] or [..., A] in [-1, 1], the policy's mode.

    Where only critics saw the rest of an observation, its first `input_size` entries are enough.
    """

    def __init__(self, header: dict[str, Any], arrays: dict[str, np.ndarray]):
        self.header, self.arrays = header, arrays
        self.observation_size: int = header["observation_size"]
        self.action_size: int = header["action_size"]
        self.options = header.get("policy", GAUSSIAN)
        self._kind = self.options["kind"]
        self._seen: int = header.get("actor_observation_size", self.observation_size)
        self.input_size = self._seen if self._kind == "gaussian" else self.observation_size  # others ask the critics
        several = {"gmm": self.options.get("components"), "latent": self.options.get("candidates")}
        self.chooses = several.get(self._kind, 1) != 1  # among several candidates, by Q
        self._gain = self.options.get("action_gain", 1.0)
        self._support = support(header)
        self._networks = {
            name: Network(shape, header["activation"], arrays) for name, shape in shapes(header, arrays).items()
        }
        self._mean, self._scale = arrays["observation_mean"], arrays["observation_scale"]
        if self._kind == "latent":
            self._latents = spread_latents(self.options["candidates"], self.action_size)

    def __call__(self, observation: Any) -> np.ndarray:
        x, batch = self._see(observation, self.input_size)
        actions = [self._squash(u) for u in self._candidates(x)]
        if self.chooses:
            best = np.argmax(self._values(x, actions), axis=0)
            actions = [np.stack(actions)[best, np.arange(len(x))]]
        return self._finish(actions[0], batch)

    def candidate_values(self, observation: Any) -> np.ndarray:
        """The smaller Q of every candidate among which the best is the action: [B, O] -> [C, B]."""
        x, _ = self._see(observation, self.input_size)
        return self._values(x, [self._squash(u) for u in self._candidates(x)])

    def sample(self, observation: Any, rng: np.random.Generator) -> np.ndarray:
        """Actions drawn from the policy: [..., O] -> [..., A]."""
        x, batch = self._see(observation, self._seen)
        noise = rng.normal(size=(len(x), self.action_size)).astype(np.float32)
        if self._kind == "latent":
            u = self._flow(self._actor(x), noise)
        else:
            logits, mean, log_sigma = self._mixture(x)
            chosen = np.arange(len(x)), np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
            u = mean[chosen] + np.exp(log_sigma[chosen]) * noise
        return self._finish(self._squash(u), batch)

    def q(self, observation: Any, action: Any) -> np.ndarray:
        """The value of each critic: [..., O], [..., A] -> [E, ...]. Raises PolicyFileError if the file has none."""
        if "critic" not in self._networks:
            raise PolicyFileError("the policy file holds no critics")
        x, batch = self._see(observation, self.observation_size)
        before_gain = np.asarray(action, np.float32).reshape(len(x), self.action_size) / self._gain
        q = self._q(x, before_gain)
        return q.reshape(len(q), *batch)

    def _see(self, observation: Any, enough: int) -> tuple[np.ndarray, tuple[int, ...]]:
        """Observations, whole or the first `enough` entries, as networks see them, [B, ...], and the batch's shape."""
        x = np.asarray(observation, np.float32)
        if x.shape[-1:] not in ((self.observation_size,), (enough,)):
            raise ValueError(f"expected observations of size {self.observation_size}, got shape {x.shape}")
        size = x.shape[-1]
        if self.header["normalize_observations"]:
            x = np.clip((x - self._mean[:size]) * self._scale[:size], -LIMIT, LIMIT)
        return x.reshape(-1, size), x.shape[:-1]

    def _actor(self, x: np.ndarray) -> np.ndarray:
        return self._networks["actor"](x[:, : self._seen])

    def _finish(self, action: np.ndarray, batch: tuple[int, ...]) -> np.ndarray:
        within = np.clip(action, -1.0, 1.0)  # as training does before the gain, which an unsquashed action may need
        return np.clip(self._gain * within, -1.0, 1.0).astype(np.float32).reshape(*batch, self.action_size)

    def _squash(self, u: np.ndarray) -> np.ndarray:
        return np.tanh(u) if self.options["squash"] else u

    def _clip(self, log_sigma: np.ndarray) -> np.ndarray:
        return np.clip(log_sigma, self.options["log_sigma_min"], self.options["log_sigma_max"])

    def _values(self, x: np.ndarray, actions: list[np.ndarray]) -> np.ndarray:
        return np.stack([self._q(x, action).min(axis=0) for action in actions])

    def _q(self, x: np.ndarray, action: np.ndarray) -> np.ndarray:
        outputs = self._networks["critic"](np.concatenate([x, action], axis=1))
        return outputs[..., 0] if self._support is None else self._support.value(outputs)

    def _candidates(self, x: np.ndarray) -> list[np.ndarray]:
        """The values of u among which Q chooses, [B, A] each."""
        if self._kind != "latent":
            return list(np.moveaxis(self._mixture(x)[1], 1, 0))
        features = self._actor(x)
        return [self._flow(features, np.tile(latent, (len(x), 1))) for latent in self._latents]

    def _mixture(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits [B, K], means and log sigmas [B, K, A]; a Gaussian is a mixture of one, without a logit."""
        output, logits = self._actor(x), np.zeros((len(x), 1), np.float32)
        if self._kind == "gmm":
            logits, output = np.split(output, [self.options["components"]], axis=1)
        mean, log_sigma = np.moveaxis(output.reshape(len(x), 2, -1, self.action_size), 1, 0)
        return logits, mean, self._clip(log_sigma)

    def _flow(self, features: np.ndarray, latent: np.ndarray) -> np.ndarray:
        """The latent-space policy's u = f(h; s), [B, A]."""
        for i in range(self.options["coupling_layers"]):
            kept = ((i + np.arange(self.action_size)) % 2).astype(np.float32)
            output = self._networks[f"coupling_{i}"](np.concatenate([latent * kept, features], axis=1))
            shift, log_scale = np.split(output, 2, axis=1)
            latent = latent * np.exp(self._clip(log_scale) * (1.0 - kept)) + shift * (1.0 - kept)
        return latent


def load(path: str | Path) -> NumpyPolicy:
    """Read a policy file. Raises `PolicyFileError` on anything that is not one."""
    path = Path(path)
    try:
        arrays = _read_arrays(path)
        header = json.loads(str(arrays.pop("header")))
    except PolicyFileError:
        raise
    except FileNotFoundError:
        raise PolicyFileError(f"{path}: no such file") from None
    except Exception as error:
        raise PolicyFileError(f"{path}: not a policy file ({type(error).__name__})") from None
    _check(path, header, arrays)
    return NumpyPolicy(header, arrays)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, each allocated only when its bytes are known to be there; objects are refused."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise PolicyFileError(f"{path}: larger than a policy file can be")
        for info in archive.infolist():
            with archive.open(info) as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise PolicyFileError(f"{path}: {info.filename} is no array of format 1.0")
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
                if dtype.hasobject or math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
                    raise PolicyFileError(f"{path}: {info.filename} is not the array that it claims to be")
                array = np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")
                arrays[info.filename.removesuffix(".npy")] = array
    return arrays


def _check(path: Path, header: Any, arrays: dict[str, np.ndarray]) -> None:
    def require(condition: bool, problem: str) -> None:
        if not condition:
            raise PolicyFileError(f"{path}: {problem}")

    def is_size(value: Any) -> bool:
        return type(value) is int and 0 < value < 2**20

    require(isinstance(header, dict), "header is not a mapping")
    version = header.get("format_version")
    known = type(version) is int and version in READABLE
    require(known, f"format version {version!r}, this release reads {' and '.join(map(str, READABLE))}")
    sizes = [header.get(name) for name in ("observation_size", "action_size", "num_layers")]
    require(all(is_size(size) for size in sizes), "sizes are missing")
    require(is_size(header.get("critic_num_layers", sizes[2])), "critic_num_layers is no size")
    seen = header.get("actor_observation_size", sizes[0])
    require(is_size(seen) and seen <= sizes[0], "actor_observation_size is larger than an observation")
    require(header.get("activation") in list(ACTIVATIONS), "unknown activation")  # a list: it may be unhashable
    for name in ("normalize_observations", "layer_norm"):
        require(isinstance(header.get(name), bool), f"{name} is missing")
    for name in ("critic_layer_norm", "weight_norm", "critic_weight_norm"):
        require(isinstance(header.get(name, False), bool), f"{name} is no truth value")
    for name in ("block", "critic_block"):
        require(header.get(name, "plain") in BLOCKS, f"unknown {name}")
    for name in ("batch_norm", "critic_batch_norm"):
        require(header.get(name, "off") in BATCH_NORMS, f"unknown {name}")
    require(version == 1 or isinstance(header.get("dtype"), str), "dtype is missing")
    numpy_support.check(header.get("critic", SCALAR), require)
    options = header.get("policy", GAUSSIAN)
    require(isinstance(options, dict), "policy is not a mapping")
    require(options.get("kind") in ["gaussian", "gmm", "latent"], "unknown policy kind")
    require(isinstance(options.get("squash"), bool), "policy squash is missing")
    gain = options.get("action_gain", 1.0)
    require(type(gain) in (int, float) and np.isfinite(gain) and gain > 0, "policy action_gain is no positive number")
    bounds = [options.get(name) for name in ("log_sigma_min", "log_sigma_max")]
    require(all(type(b) in (int, float) and np.isfinite(b) for b in bounds), "policy log_sigma bounds are missing")
    if options["kind"] == "gmm":
        require(is_size(options.get("components")), "policy components are missing")
    if options["kind"] == "latent":
        require(all(is_size(options.get(n)) for n in ("coupling_layers", "candidates")), "policy sizes are missing")
        require(options["candidates"] * sizes[1] < 2**20, "policy candidates are too many")
        require("feature_size" in options, "policy feature_size is missing")
        require(options["feature_size"] is None or is_size(options["feature_size"]), "policy feature_size is wrong")
        require(isinstance(options.get("coupling_hidden_sizes"), list), "policy coupling_hidden_sizes are missing")
    for name, value in arrays.items():
        sound = isinstance(value, np.ndarray) and value.dtype == np.float32 and bool(np.all(np.isfinite(value)))
        require(sound, f"{name} is not finite float32")
    absent = np.zeros(())
    for name in ("observation_mean", "observation_scale"):
        require(arrays.get(name, absent).shape == (sizes[0],), f"{name} has the wrong shape")
    for name in ("reward_mean", "reward_variance", "normalizer_steps", "log_temperature"):
        require(arrays.get(name, absent).shape == (), f"{name} has the wrong shape")
    found = shapes(header, arrays)
    for shape in found.values():
        shape.check(arrays, require)
    choices = {"gaussian": 1, "gmm": options.get("components"), "latent": options.get("candidates")}[options["kind"]]
    require(choices == 1 or "critic" in found, "no critics, by which this kind of policy chooses its action")


def spread_latents(count: int, size: int) -> np.ndarray:
    """Distinct points spread over N(0, I), the first at its centre: [count, size]. An additive recurrence."""
    ratio = 2.0
    for _ in range(64):  # the root of x^(size + 1) = x + 1
        ratio = (1.0 + ratio) ** (1.0 / (size + 1))
    steps = ratio ** -np.arange(1.0, size + 1.0)
    uniform = np.clip((0.5 + np.arange(count)[:, None] * steps) % 1.0, 1e-6, 1.0 - 1e-6)
    return np.vectorize(NormalDist().inv_cdf)(uniform).astype(np.float32)
