"""The possible returns of a categorical critic, and its value: the mean of the returns by their probabilities.

The same numbers in training, in a policy file and in its exports. Imports NumPy alone.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class Support:
    """K atoms z_1 < ... < z_K between two ends, by the keys of the section `critic`.

    With equal gaps, or with gaps that are equal for symlog(z) = sign(z) ln(1 + |z|) (DreamerV3, arXiv:2301.04104):
    nearly one around zero, and a constant fraction of z far away, so that returns of all sizes have atoms near them.
    """

    def __init__(self, options: Mapping[str, Any]):
        count, symlog = options["num_atoms"], options["atom_spacing"] == "symlog"
        self.even = not symlog
        ends = np.array([options["v_min"], options["v_max"]], np.float64)
        low, high = np.sign(ends) * np.log1p(np.abs(ends)) if symlog else ends
        even = np.linspace(low, high, count)
        self.atoms = np.sign(even) * np.expm1(np.abs(even)) if symlog else even  # [K]
        # Of fresh networks, whose outputs are small. Without it a far atom's weight times its size would be a value.
        self.prior_logits = -np.log1p(np.abs(self.atoms)) if symlog else None  # [K]

    def value(self, outputs: np.ndarray) -> np.ndarray:
        """The mean return of what a network puts out: [..., K] -> [...]."""
        logits = outputs if self.prior_logits is None else outputs + self.prior_logits.astype(outputs.dtype)
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return (weights * self.atoms.astype(outputs.dtype)).sum(axis=-1) / weights.sum(axis=-1)


def check(options: Any, require: Callable[[bool, str], None]) -> None:
    """Call `require(False, problem)` if the section `critic` of a file has no critics that can be."""
    require(isinstance(options, dict) and isinstance(options.get("kind"), str), "critic is not a mapping with a kind")
    require(options["kind"] != "hl_gauss", "its critics are of the kind hl_gauss, which is no longer there")
    if options["kind"] != "categorical":
        return
    count, ends = options.get("num_atoms"), [options.get(name) for name in ("v_min", "v_max")]
    require(type(count) is int and 1 < count < 2**20, "critic num_atoms is no size")
    require(options.get("atom_spacing") in ["linear", "symlog"], "unknown critic atom_spacing")
    require(
        all(type(end) in (int, float) and np.isfinite(end) for end in ends), "critic v_min and v_max are no numbers"
    )
    require(ends[0] < ends[1], "critic v_min is not below v_max")
