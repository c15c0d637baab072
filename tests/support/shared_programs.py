"""Runs that need the same programs share them: nearly all of a tiny run is tracing and compiling."""

from typing import Any

from sacbrax.config import Config
from sacbrax.run.loop import Result, run
from sacbrax.run.resume import stored_shards
from sacbrax.training.plan import Plan
from sacbrax.training.population import Population

MOST = 4  # populations kept
HOSTS_OWN = ("checkpoint", "init", "logging")  # sections
_kept: dict[str, Population] = {}


def run_sharing(config: Config) -> Result:
    """`run`, quietly, with the programs of an earlier run of this process if they would be the same."""
    plan = Plan.of(config, stored_shards(config))
    config = plan.resolved(config)
    key = repr(_what_is_compiled(config))
    population = _kept[key] = Population(config, like=_kept.pop(key, None), plan=plan)
    if len(_kept) > MOST:
        del _kept[next(iter(_kept))]
    return run(config, quiet=True, population=population)


def _what_is_compiled(config: Config) -> dict[str, Any]:
    """The configuration without what only the host reads."""
    sections = {name: dict(keys) for name, keys in config.to_mapping().items() if name not in HOSTS_OWN}
    for section, key in (
        ("run", "dir"),
        ("eval", "every_env_steps"),
        ("train", "total_env_steps"),
        ("train", "max_bad_updates"),
        ("train", "seed"),
    ):
        del sections[section][key]
    return sections
