"""What a sweep file says: a base configuration, what varies and how, and how to run it. Read, checked, drawn from.

    base: ../swimmer.yaml                     # seen from the sweep file
    search: random
    trials: 16
    fixed: {train.num_seeds: 3}               # the same in every trial
    vary:
      algorithm.learning_rate: {log_uniform: [1e-4, 1e-2]}
      algorithm.gamma: {uniform: [0.98, 0.999]}
      network.hidden_sizes: [[64, 64], [128, 128]]    # a list is a choice

Knows no JAX.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax import config as config_lib
from sacbrax.config import Config, ConfigError, traced
from sacbrax.config.option import apply_override, build, option, parse_yaml
from sacbrax.sweep import space as space_lib
from sacbrax.sweep.halving import HalvingConfig
from sacbrax.sweep.pbt import PbtConfig
from sacbrax.sweep.space import Range, Space, Values

RESERVED = ("run.dir",)  # the sweep's to set
DOTTED = ("fixed", "vary", "variants.*")  # whose keys are the configuration's: `vary.train.seed=[3, 4]`
VARIANT = "variant"  # what varies where there are `variants`


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """The file's keys."""

    base: str | None = option(None, "configuration file of every trial, seen from the sweep file's directory")
    fixed: dict[str, Any] = option({}, "values of configuration keys that all trials have instead of base's")
    vary: dict[str, Any] = option({}, "configuration key: list of choices, {uniform: [a, b]} or {log_uniform: [a, b]}")
    variants: dict[str, Any] = option(
        {}, "name: configuration keys with their values; each trial has one of them, which varies as `variant`"
    )
    search: str = option("grid", "how trials are drawn from both", choices=("grid", "random", "optuna", "pbt"))
    trials: int = option(16, "all but grid: number of trials; pbt: members of the population", low=1)
    seed: int = option(0, "all but grid: seed of the draws", low=0, high=2**32 - 1)
    batch: int = option(8, "optuna: trials asked for at a time; their results come back together", low=1)
    metric: str = option("eval/return_mean", "key of metrics.jsonl that ranks trials, the mean over their seeds")
    score: str = option("final", "which of its values: the last or the best evaluation", choices=("final", "best"))
    direction: str = option("maximize", "what is better", choices=("maximize", "minimize"))
    pbt: PbtConfig = dataclasses.field(default_factory=PbtConfig)
    pruner: str = option(
        "none",
        "asha: trials that are not among the best end early and others take their slots (all searches but pbt)",
        choices=("none", "asha"),
    )
    asha: HalvingConfig = dataclasses.field(default_factory=HalvingConfig)
    vmap: str = option(
        "auto",
        "trials that differ in traced numbers only run side by side in one program. auto: on accelerators; a CPU's "
        "cores are busy with one trial already",
        choices=("auto", "true", "false"),
    )
    trials_per_program: int | None = option(
        None, "trials of one program at most; when null, what the device's memory holds", low=1
    )
    executor: str = option(
        "local", "local: one program after the other; ray: on a Ray cluster", choices=("local", "ray")
    )
    cpus_per_program: int | None = option(
        None, "ray: cores of a program; all of a machine without GPUs when null", low=1
    )
    keep_checkpoints: bool = option(False, "keep the full checkpoints of finished trials too; policies always stay")
    dir: str | None = option(None, "directory of the sweep; runs/sweeps/<file name> when null")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep file, checked, with the text of its base configuration."""

    name: str
    config: SweepConfig
    base_text: str
    base_where: str
    overrides: tuple[str, ...]  # of the base configuration, from `fixed` and the command line
    space: Space

    @property
    def directory(self) -> Path:
        """Where everything goes."""
        return Path(self.config.dir or Path("runs") / "sweeps" / self.name)

    def trial(self, parameters: Mapping[str, Any]) -> Config:
        """The configuration of a trial. Raises `ConfigError`."""
        own = [f"{key}={_text_of(value)}" for key, value in self.whole(parameters).items() if key != VARIANT]
        return config_lib.parse(self.base_text, self.base_where, [*self.overrides, *own])

    def whole(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial varies, with all that its variant stands for: so the journal notices a variant that changed."""
        own: Mapping[str, Any] = self.config.variants.get(parameters.get(VARIANT, ""), {})
        return {**own, **parameters}

    def parameters(self) -> list[dict[str, Any]]:
        """Of every trial of all searches but Optuna's, in order. Trial i of a random search depends on the seed and i
        alone, so that more trials leave the first ones as they are."""
        if self.config.search == "grid":
            names, choices = list(self.space), list(self.space.values())
            found = itertools.product(*map(_choices, choices))
            return [self.whole(dict(zip(names, values, strict=True))) for values in found]
        return [self._random(i) for i in range(self.config.trials)]

    def _random(self, index: int) -> dict[str, Any]:
        return self.whole(space_lib.draw(self.space, np.random.default_rng([self.config.seed, index])))


def read(path: str | Path, overrides: Iterable[str] = ()) -> Sweep:
    """A sweep file. An override whose section is one of the configuration's is for the trials, any other is for the
    sweep itself. Raises `ConfigError`."""
    path = config_lib.find(path)
    mapping = read_mapping(path)
    sections = {field.name for field in dataclasses.fields(Config)}
    trial_overrides = []
    for override in overrides:
        if override.partition("=")[0].partition(".")[0].strip() in sections:
            trial_overrides.append(override)
        else:
            apply_override(mapping, override, DOTTED)
    if "base" not in mapping and sections & mapping.keys():
        raise ConfigError(f"{path}: the configuration of one run, not a sweep; python -m sacbrax.train runs it")
    if isinstance(mapping.get("vmap"), bool):  # YAML's true and false
        mapping["vmap"] = str(mapping["vmap"]).lower()
    config: SweepConfig = build(SweepConfig, mapping, "")
    if config.base is None:
        raise ConfigError(f"{path}: base: the configuration file of the trials is missing")
    base = path.parent / config.base
    space = _variants(config) | space_lib.read(config.vary, grid=config.search == "grid")
    if not space:
        raise ConfigError("vary: nothing varies; expected configuration keys with their values")
    fixed = [f"{key}={_text_of(value)}" for key, value in config.fixed.items()]
    sweep = Sweep(path.stem, config, _text(base), str(base), (*fixed, *trial_overrides), space)
    keys = (key for settings in config.variants.values() for key in settings)
    given = [override.partition("=")[0].strip() for override in sweep.overrides]
    for key in (*space, *keys, *given):
        if key in RESERVED:
            raise ConfigError(f"{key}: set by the sweep; use dir=DIRECTORY")
    for key in given:
        if key in space:
            raise ConfigError(f"{key}: varies in {path}; set it in one place, or change vary.{key}")
    _check(sweep)
    return sweep


def _text_of(value: Any) -> str:
    """As an override has it; what YAML has and JSON has not, such as a date, as a text, which the key then refuses."""
    return json.dumps(value, default=str)


def _variants(config: SweepConfig) -> dict[str, Values]:
    """The choice between variants, where there are any. Raises `ConfigError`."""
    for name, settings in config.variants.items():
        if not isinstance(settings, dict):
            raise ConfigError(f"variants.{name}: expected configuration keys with their values, such as {{}}")
        if twice := [key for key in settings if key in config.vary]:
            raise ConfigError(f"variants.{name}: {twice[0]} varies by itself; leave it out here or under vary")
    return {VARIANT: tuple(config.variants)} if config.variants else {}


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys of a YAML file. Raises `ConfigError`."""
    mapping = parse_yaml(_text(path), str(path))
    if not isinstance(mapping, dict):
        raise ConfigError(f"{path}: expected keys such as `base:` and `vary:`")
    return mapping


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None


def _choices(values: Range | Sequence[Any]) -> Sequence[Any]:
    assert not isinstance(values, Range)
    return values


def _check(sweep: Sweep) -> None:
    """Every value that can be drawn is one the configuration takes: each choice; of each range both ends and, for a key
    may be of whole numbers, one between them."""
    base = sweep.trial({})
    if sweep.config.search == "pbt":
        _check_population(sweep, base)
    if sweep.config.pruner != "none":
        _check_pruner(sweep, base)
    if sweep.config.search == "grid":
        for parameters in sweep.parameters():
            sweep.trial(parameters)
        return
    first = {key: values.low if isinstance(values, Range) else values[0] for key, values in sweep.space.items()}
    for key, values in sweep.space.items():
        for value in (values.low, values.high) if isinstance(values, Range) else values:
            sweep.trial(first | {key: value})
        if isinstance(values, Range):
            try:
                sweep.trial(first | {key: values.low + (values.high - values.low) / math.pi})
            except ConfigError as error:
                raise ConfigError(f"vary.{key}: a range has all numbers between its ends, but {error}") from None


def _check_population(sweep: Sweep, base: Config) -> None:
    """Members of a population share a program, in which traced keys may differ, and some are replaced."""
    config, free = sweep.config, traced(base)
    for key in sweep.space:
        if key not in free:
            raise ConfigError(
                f"vary.{key}: with search: pbt only numbers that one program can vary; choose from {', '.join(free)}"
            )
    if config.vmap == "false":
        raise ConfigError("vmap: must be auto or true with search: pbt, whose members share a program")
    size = config.trials_per_program or config.trials
    if config.trials % size:
        raise ConfigError(f"trials_per_program: populations of {size} do not make up the {config.trials} trials")
    if int(config.pbt.quantile * size) < 1:
        least = math.ceil(1 / config.pbt.quantile)
        raise ConfigError(f"trials: in a population of {size} pbt.quantile replaces none; at least {least} are needed")
    key = "every" if config.pbt.first is None else "first"
    if (first := getattr(config.pbt, key)) >= base.num_epochs:
        raise ConfigError(
            f"pbt.{key}: must be below the {base.num_epochs} evaluations of a member, got {first}, or nothing is ever "
            "exchanged; lower eval.every_env_steps for more"
        )


def _check_pruner(sweep: Sweep, base: Config) -> None:
    """A trial begins in a slot of a running program as the first ones did, and later than they."""
    config = sweep.config
    if config.search == "pbt":
        raise ConfigError("pruner: must be none with search: pbt, whose members all go on")
    if config.vmap == "false":
        raise ConfigError("vmap: must be auto or true with a pruner, whose trials share programs")
    if config.trials_per_program == 1:
        raise ConfigError("trials_per_program: must be at least 2 with a pruner")
    if "train.seed" in sweep.space:
        raise ConfigError("vary.train.seed: all trials have the same seeds with a pruner; use train.num_seeds")
    if base.init.from_ is not None or base.replay.prior is not None:
        raise ConfigError("pruner: must be none with init.from and replay.prior")
    if config.asha.first >= base.num_epochs:
        raise ConfigError(
            f"asha.first: must be below the {base.num_epochs} evaluations of a trial, got {config.asha.first}; lower "
            "eval.every_env_steps for more"
        )
