"""The networks in a policy file: what each consists of, step by step, whether its arrays fit, and what it computes.

A network is a list of steps, which `Network` takes in NumPy and `onnx_policy` turns into nodes. Imports NumPy alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCKS, BATCH_NORMS = ("plain", "simba"), ("off", "batch", "renorm")
# The arrays of a step, whose names in a file are `<prefix><part>_<number>`.
PARTS = {
    "dense": ("kernel", "bias"),
    "unit": ("kernel", "scale", "bias"),
    "norm": ("norm_scale", "norm_bias"),
    "batch": ("batch_scale", "batch_bias", "batch_mean", "batch_variance"),
}
Step = tuple[str, int]  # what happens, and the number of its arrays


def _sigmoid(x: Any) -> Any:
    return 0.5 * (np.tanh(0.5 * x) + 1.0)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    # the tanh form, as flax computes it
    "gelu": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))),
}


@dataclass(frozen=True)
class Shape:
    """One network in a file: its arrays are `<prefix>kernel_0`, ..., with a leading axis [members] if that is set."""

    prefix: str
    num_layers: int  # linear ones
    layer_norm: bool
    inputs: int
    outputs: int
    members: int | None = None
    block: str = "plain"
    weight_norm: bool = False
    batch_norm: str = "off"

    @property
    def steps(self) -> list[Step]:
        """From the input to the output: dense layers, norms, activations, and what a block keeps and adds."""
        last, found = self.num_layers - 1, list[Step]()
        dense = "unit" if self.weight_norm else "dense"
        if self.block == "simba":
            found, blocks = [(dense, 0)], last // 2
            for i in range(blocks):
                found += [("keep", i), ("norm", i), (dense, 2 * i + 1), ("activate", i), (dense, 2 * i + 2)]
                found += [("add", i)]
            return [*found, ("norm", blocks), ("dense", last)]
        batch = self.batch_norm != "off"
        found = [("batch", 0)] if batch else []
        for i in range(last):
            found += [(dense, i), *([("norm", i)] if self.layer_norm else []), ("activate", i)]
            found += [("batch", i + 1)] if batch else []
        return [*found, ("dense", last)]

    def program(self, arrays: dict[str, np.ndarray]) -> list[tuple[str, list[np.ndarray]]]:
        """The steps with what they compute with: a layer of unit weights is a dense one here, and a norm by running
        statistics a factor and a summand."""
        found = []
        for what, i in self.steps:
            operands = [arrays[f"{self.prefix}{part}_{i}"] for part in PARTS.get(what, ())]
            if what == "unit":
                kernel, scale, bias = operands
                what, operands = "dense", [kernel / _lengths(kernel) * scale[..., None, :], bias]
            elif what == "batch":
                scale, bias, mean, variance = operands
                factor = scale / np.sqrt(variance + np.float32(1e-3))
                what, operands = "affine", [factor, bias - mean * factor]
            found.append((what, operands))
        return found

    def hidden_sizes(self, arrays: dict[str, np.ndarray]) -> list[int]:
        """`network.hidden_sizes` of this network: one for each hidden layer, or block."""
        last = self.num_layers - 1
        numbers = [0] * (last // 2) if self.block == "simba" else range(last)
        return [arrays[f"{self.prefix}kernel_{i}"].shape[-1] for i in numbers]

    def check(self, arrays: dict[str, np.ndarray], require: Callable[[bool, str], None]) -> None:
        """Call `require(False, problem)` if the arrays are not this network's."""
        lead = () if self.members is None else (self.members,)
        width = kept = self.inputs
        require(0 not in lead, f"{self.prefix}kernel_0 has no members")
        require(self.num_layers <= len(arrays), f"{self.prefix}layers are not all there")
        odd = self.block == "simba" and (self.num_layers < 4 or self.num_layers % 2)
        require(not odd, f"no {self.prefix}blocks have {self.num_layers} layers")
        for what, i in self.steps:
            parts = [arrays.get(f"{self.prefix}{part}_{i}", np.zeros(())) for part in PARTS.get(what, ())]
            if what in ("dense", "unit"):
                kernel, *vectors = parts
                fits = kernel.ndim == len(lead) + 2 and kernel.shape[:-1] == (*lead, width)
                fits = fits and all(vector.shape == (*lead, kernel.shape[-1]) for vector in vectors)
                require(fits, f"{self.prefix}layer {i} has the wrong shape")
                require(
                    what == "dense" or bool(np.all(_lengths(kernel) > 0)), f"{self.prefix}layer {i} has no direction"
                )
                width = kernel.shape[-1]
            elif what == "keep":
                kept = width
            else:
                require(what != "batch" or bool(np.all(parts[-1] >= 0)), f"{self.prefix}batch {i} has no deviation")
                require(width == kept or what != "add", f"{self.prefix}block {i} has the wrong shape")
                require(
                    all(part.shape == (*lead, width) for part in parts), f"{self.prefix}{what} {i} has the wrong shape"
                )
        require(width == self.outputs, f"the last {self.prefix}layer is too narrow or too wide")


def _lengths(kernel: np.ndarray) -> np.ndarray:
    """Of the columns, [..., I, J] -> [..., 1, J]."""
    return np.sqrt((kernel * kernel).sum(axis=-2, keepdims=True))


class Network:
    """[B, I] -> [B, J], or of an ensemble [E, B, J]."""

    def __init__(self, shape: Shape, activation: str, arrays: dict[str, np.ndarray]):
        self._activation = ACTIVATIONS[activation]

        def rows(what: str, operands: list[np.ndarray]) -> list[np.ndarray]:
            """Vectors with a row axis, so that members broadcast against batches."""
            kernels = 1 if what == "dense" else 0
            return operands[:kernels] + [vector[..., None, :] for vector in operands[kernels:]]

        self._steps = [(what, rows(what, operands)) for what, operands in shape.program(arrays)]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        kept = x
        for what, operands in self._steps:
            if what == "dense":
                x = x @ operands[0] + operands[1]
            elif what == "norm":
                centred = x - x.mean(axis=-1, keepdims=True)
                variance = (centred**2).mean(axis=-1, keepdims=True)
                x = centred / np.sqrt(variance + 1e-6) * operands[0] + operands[1]
            elif what == "affine":
                x = x * operands[0] + operands[1]
            elif what == "activate":
                x = self._activation(x)
            elif what == "keep":
                kept = x
            else:
                x = kept + x
        return x
