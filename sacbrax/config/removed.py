"""Keys that earlier builds had, each with the value that means what is done without it.

A run's `config.yaml`, its checkpoints and its policy files have every key of their build: such a key at that value is
left out, and the run goes on. Any other value asks for what is no longer there.
"""

import json
from collections.abc import Mapping
from typing import Any

from sacbrax.core.errors import ConfigError

REMOVED: dict[str, Any] = {
    "critic.sigma": 0.75,
    "network.critic_dropout": 0.0,
    "train.reset_interval": None,
    "train.reset_share": 1.0,
}


def without_removed(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of keys without those that were removed. Raises `ConfigError` where one has another value."""
    kept = dict(mapping)
    for key, harmless in REMOVED.items():
        section, _, option = key.partition(".")
        present = kept.get(section)
        if not isinstance(present, Mapping) or option not in present:
            continue
        if present[option] != harmless:
            raise ConfigError(f"{key}: there is no such option any more; leave it out (or {json.dumps(harmless)})")
        kept[section] = {name: value for name, value in present.items() if name != option}
    return kept
