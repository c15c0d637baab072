"""Sums of metrics that know what they are sums of: whoever makes a number says its kind, and nobody has to guess it."""

import dataclasses
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

import jax
import numpy as np

from sacbrax.core.types import Array


class Kind(Enum):
    """What a sum is divided by to become the number of the log."""

    COUNT = "nothing"
    PER_STEP = "sound steps of environments"
    PER_EPISODE = "whole episodes that ended"
    PER_UPDATE = "updates that were applied"
    PER_POLICY_UPDATE = "those of them that had the policy's part"


# The counts that divide, by their names among the sums.
STEPS, EPISODES, APPLIED_UPDATES = "steps", "episodes", "applied_updates"
POLICY_UPDATES = "applied_policy_updates"


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class Sums:
    """Numbers by name with the kind of each; as a tree of arrays they are a dictionary of their names."""

    values: dict[str, Any]  # [] each, or with an axis of seeds
    kinds: dict[str, Kind]
    labels: dict[str, str | None] = dataclasses.field(default_factory=dict)  # in the log where not the name; None: not

    @classmethod
    def of(cls, kind: Kind, values: Mapping[str, Array], labels: Mapping[str, str | None] | None = None) -> "Sums":
        """Numbers of one kind."""
        return cls(dict(values), dict.fromkeys(values, kind), dict(labels or {}))

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def __or__(self, other: "Sums") -> "Sums":
        """Both; a name may stand in one of them only."""
        if twice := self.values.keys() & other.values.keys():
            raise ValueError(f"two metrics have one name: {', '.join(sorted(twice))}")
        return Sums(self.values | other.values, self.kinds | other.kinds, self.labels | other.labels)

    def plus(self, other: "Sums") -> "Sums":
        """Both added up; what one of them lacks is the other's."""
        # Never in the order of a set, which is another in every process: the cache would know no program again.
        common = {name: value + other.values[name] for name, value in self.values.items() if name in other.values}
        values = {**self.values, **other.values, **common}
        return Sums(values, self.kinds | other.kinds, self.labels | other.labels)

    def per_policy_update(self, names: Collection[str]) -> "Sums":
        """Of one update: those named are sums over updates that had the policy's part, as this one had."""
        values = self.values | {POLICY_UPDATES: self.values[APPLIED_UPDATES]}
        kinds = self.kinds | dict.fromkeys(names, Kind.PER_POLICY_UPDATE) | {POLICY_UPDATES: Kind.COUNT}
        return Sums(values, kinds, self.labels | {POLICY_UPDATES: None})

    def averages(self) -> dict[str, Any]:
        """What the log calls each number -> the sum over what it is a sum of; NaN where nothing was summed up, but 0
        for steps of which none was sound. On the host."""
        labels = {name: self.labels.get(name, name) for name in self.values}
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                label: self._average(self.values[name], self.kinds[name])
                for name, label in labels.items()
                if label is not None
            }

    def _average(self, value: Any, kind: Kind) -> Any:
        if kind is Kind.PER_STEP:
            return value / np.maximum(self.values[STEPS], 1).astype(np.float32)
        if kind is Kind.PER_EPISODE:
            return value / self.values[EPISODES]
        if kind is Kind.PER_UPDATE:
            return value / self.values[APPLIED_UPDATES]
        if kind is Kind.PER_POLICY_UPDATE:
            return value / self.values[POLICY_UPDATES]
        return value

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        """For JAX: the numbers under their names, and what is no array."""
        names = sorted(self.values)
        children = [(jax.tree_util.DictKey(name), self.values[name]) for name in names]
        return children, tuple((name, self.kinds[name], self.labels.get(name, name)) for name in names)

    @classmethod
    def tree_unflatten(cls, static: Any, values: Any) -> "Sums":
        """For JAX."""
        kinds = {name: kind for name, kind, _ in static}
        labels = {name: label for name, _, label in static if label != name}
        return cls(dict(zip(kinds, values, strict=True)), kinds, labels)
