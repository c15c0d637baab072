"""Every number a run depends on: frozen dataclasses, read from YAML and dotted overrides, checked before use.

Knows nothing of JAX, environments or files other than the YAML it reads. A mistake raises `ConfigError` with one line
that names the key and what would be valid. `sections` has the keys, `option` what one option is and how its value is
read.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sacbrax.config.option import ConfigError, apply_override, build, parse_yaml, plain
from sacbrax.config.presets import with_preset
from sacbrax.config.removed import without_removed
from sacbrax.config.sections import (
    AlgorithmConfig,
    CheckpointConfig,
    CriticConfig,
    EnvConfig,
    EvalConfig,
    InitConfig,
    LoggingConfig,
    NetworkConfig,
    ParallelConfig,
    PolicyConfig,
    ReplayConfig,
    RunConfig,
    TrainConfig,
)

# Where the configurations that come with the package are: in a wheel inside it, in a source tree beside it.
SHIPPED = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole configuration of a run; `load`, `parse` and `from_mapping` are the ways to make one."""

    env: EnvConfig = dataclasses.field(default_factory=EnvConfig)
    algorithm: AlgorithmConfig = dataclasses.field(default_factory=AlgorithmConfig)
    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    critic: CriticConfig = dataclasses.field(default_factory=CriticConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    replay: ReplayConfig = dataclasses.field(default_factory=ReplayConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    parallel: ParallelConfig = dataclasses.field(default_factory=ParallelConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    init: InitConfig = dataclasses.field(default_factory=InitConfig)
    logging: LoggingConfig = dataclasses.field(default_factory=LoggingConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        _check_combinations(self)

    @property
    def exploration_iterations(self) -> int:
        """Vector steps of the exploration scan."""
        return math.ceil(self.train.exploration_env_steps / self.env.num_envs)

    @property
    def iterations_per_round(self) -> int:
        """Vector steps after which the gradient steps are whole groups of `algorithm.policy_delay`. A run is cut, to
        evaluate or to save, only there."""
        return self.train.update_interval * max(1, self.algorithm.policy_delay // self.train.updates_per_step)

    @property
    def iterations_per_epoch(self) -> int:
        """Vector steps between two evaluations: `eval.every_env_steps` in whole rounds, at most the whole run."""
        whole_run = math.ceil(self._learning_iterations / self.iterations_per_round)
        return self._whole_rounds(min(self._rounds(self.eval.every_env_steps), whole_run))

    def _rounds(self, env_steps: int) -> int:
        """Rounds of updates in so many environment steps, to the nearest."""
        return round(env_steps / (self.env.num_envs * self.iterations_per_round))

    def _whole_rounds(self, rounds: int) -> int:
        """Vector steps of at least one round."""
        return max(1, rounds) * self.iterations_per_round

    @property
    def _learning_iterations(self) -> int:
        """Vector steps after exploration that reach `train.total_env_steps`."""
        return math.ceil(self.train.total_env_steps / self.env.num_envs) - self.exploration_iterations

    @property
    def num_epochs(self) -> int:
        """Epochs that reach `train.total_env_steps`, the last one whole."""
        return max(1, math.ceil(self._learning_iterations / self.iterations_per_epoch))

    @property
    def total_iterations(self) -> int:
        """Vector steps of the whole run."""
        return self.exploration_iterations + self.num_epochs * self.iterations_per_epoch

    @property
    def iterations_per_checkpoint(self) -> int | None:
        """Vector steps between two checkpoints, null if they follow the evaluations."""
        every = self.checkpoint.every_env_steps
        return None if every is None else self._whole_rounds(self._rounds(every))

    def gradient_steps(self, iterations: int) -> int:
        """Gradient steps of so many vector steps after exploration."""
        return iterations // self.train.update_interval * self.train.updates_per_step

    def to_mapping(self) -> dict[str, Any]:
        """Plain nested dictionary, ready for YAML."""
        return {
            section.name: {key.rstrip("_"): plain(value) for key, value in vars(getattr(self, section.name)).items()}
            for section in dataclasses.fields(self)
        }

    def to_yaml(self) -> str:
        """The fully resolved configuration as YAML text."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False)


def from_mapping(mapping: Mapping[str, Any]) -> Config:
    """Build a `Config` from nested mappings; missing keys are as `algorithm.preset` has them, or else take their
    defaults. Raises `ConfigError`."""
    if isinstance(mapping, Mapping):
        mapping = without_removed(mapping)
        algorithm = mapping.get("algorithm")
        if isinstance(algorithm, Mapping):
            mapping = with_preset(mapping, algorithm.get("preset"))
    return build(Config, mapping, "")


def find(name: str | Path) -> Path:
    """The file of this name, or else the shipped configuration: `swimmer` and `configs/swimmer.yaml` are the same."""
    path = Path(name)
    key = path.with_suffix("").as_posix().removeprefix("configs/")
    shipped = {} if path.is_file() or path.suffix not in ("", ".yaml") else shipped_configs()
    return shipped.get(key, path)


def shipped_configs() -> dict[str, Path]:
    """The YAML files that come with the package: name -> file."""
    folder = next((folder for folder in SHIPPED if folder.is_dir()), SHIPPED[0])
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.yaml"))}


def trainable_configs() -> dict[str, Path]:
    """Those of them that a run can have; a sweep's or a study's file names one as its `base`."""
    shipped = shipped_configs().items()
    return {name: file for name, file in shipped if "\nbase:" not in f"\n{file.read_text(encoding='utf-8')}"}


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file or a shipped configuration (see `find`), apply `key.sub=value` overrides and check everything.

    Raises `ConfigError`.
    """
    path = find(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        shipped = trainable_configs()
        close = [name for name in shipped if Path(name).name == path.stem] or difflib.get_close_matches(
            str(path), shipped, n=1
        )
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        listed = ", ".join(shipped)
        raise ConfigError(f"{path}: cannot read the configuration: No such file; {hint}shipped are {listed}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None
    return parse(text, str(path), overrides, path.stem)


def parse(text: str, where: str, overrides: Iterable[str] = (), name: str | None = None) -> Config:
    """The configuration in a YAML text with overrides; `where` names it in messages, and `name` is its `run.name` where
    it has none itself. Raises `ConfigError`."""
    mapping = parse_yaml(text, where)
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, dict):
        raise ConfigError(f"{where}: expected sections such as `train:` with keys below them")
    if "base" in mapping:
        raise ConfigError(
            f"{where}: a sweep or a study of the configuration {mapping['base']}; python -m sacbrax.sweep runs it"
        )
    for override in overrides:
        apply_override(mapping, override)
    if name is not None:
        mapping["run"] = {} if mapping.get("run") is None else mapping["run"]
        if isinstance(mapping["run"], dict):  # what else it may be is refused below
            mapping["run"].setdefault("name", name)
    return from_mapping(mapping)


def _check_combinations(config: Config) -> None:
    env, train, replay = config.env, config.train, config.replay
    explored = config.exploration_iterations * env.num_envs
    if replay.capacity < env.num_envs:
        raise ConfigError(f"replay.capacity: must hold one row per environment, at least env.num_envs = {env.num_envs}")
    if replay.capacity < config.algorithm.n_step * env.num_envs:
        raise ConfigError(
            f"replay.capacity: must hold one n-step window of every environment, at least algorithm.n_step * "
            f"env.num_envs = {config.algorithm.n_step * env.num_envs}"
        )
    if train.batch_size > min(explored, replay.capacity):
        raise ConfigError(
            f"train.batch_size: {train.batch_size} is more than the {min(explored, replay.capacity)} transitions that "
            "train.exploration_env_steps and replay.capacity provide for the first gradient step"
        )
    if train.total_env_steps < explored + env.num_envs:
        raise ConfigError(
            f"train.total_env_steps: must exceed exploration by one vector step, at least {explored + env.num_envs}"
        )
    delay, updates = config.algorithm.policy_delay, train.updates_per_step
    if delay % updates and updates % delay:
        raise ConfigError(
            f"algorithm.policy_delay: must divide train.updates_per_step = {updates}, or be a multiple, got {delay}"
        )
    if config.eval.randomize and env.randomize is None:
        raise ConfigError("eval.randomize: needs env.randomize, which says what is drawn")
    parallel = config.parallel
    if parallel.processes not in (1, "cluster"):
        if parallel.process >= int(parallel.processes):
            raise ConfigError(f"parallel.process: must be below parallel.processes = {parallel.processes}")
        port = (parallel.coordinator or "").rpartition(":")[2]
        if not port.isdecimal() or int(port) > 65535:
            raise ConfigError("parallel.coordinator: expected host:port of process 0, such as 10.0.0.1:1234")
        if parallel.devices != "all" and int(parallel.devices) % int(parallel.processes):
            raise ConfigError(f"parallel.devices: must be all, or divide by parallel.processes = {parallel.processes}")
    _check_networks(config.network)
    _check_batch_norm(config)
    _check_critics(config.critic)
    if (config.algorithm.target_critics or 1) > config.algorithm.num_critics:
        raise ConfigError(
            f"algorithm.target_critics: must be at most algorithm.num_critics = {config.algorithm.num_critics}"
        )
    if config.algorithm.target_sigma is not None and config.algorithm.target_entropy is not None:
        raise ConfigError("algorithm.target_sigma: must be null where algorithm.target_entropy says what is wanted")
    if config.policy.log_sigma_min >= config.policy.log_sigma_max:
        raise ConfigError("policy.log_sigma_min: must be below policy.log_sigma_max")
    _check_exploration(config.policy)
    if config.algorithm.normalize_rewards and config.init.from_ and {"critics", "value"} & set(config.init.parts):
        raise ConfigError(
            "init.parts: must be without critics and value with algorithm.normalize_rewards, which has other units"
        )
    # Devices count in 32 bits.
    if config.total_iterations >= 2**31:
        raise ConfigError("train.total_env_steps: more than 2**31 vector steps; use more env.num_envs")
    if config.gradient_steps(config.total_iterations - config.exploration_iterations) >= 2**31:
        raise ConfigError("train.total_env_steps: more than 2**31 gradient steps; use fewer train.updates_per_step")
    if config.iterations_per_epoch * env.num_envs >= 2**31:
        raise ConfigError("eval.every_env_steps: more than 2**31 environment steps between two evaluations")


def _check_critics(critic: CriticConfig) -> None:
    if critic.kind != "categorical":
        return
    for key in ("v_min", "v_max"):
        if getattr(critic, key) is None:
            raise ConfigError(
                f"critic.{key}: expected a number with critic.kind {critic.kind}; with atom_spacing symlog -20000 and "
                "20000 leave room for the returns of any task"
            )
    if not (critic.v_min or 0.0) < (critic.v_max or 0.0):
        raise ConfigError(f"critic.v_min: must be below critic.v_max = {critic.v_max}, got {critic.v_min}")


def _check_exploration(policy: PolicyConfig) -> None:
    if policy.noise_max < policy.noise_min:
        raise ConfigError(f"policy.noise_max: must be at least policy.noise_min = {policy.noise_min}")
    if policy.initial_sigma is None:
        return
    if policy.kind == "latent":
        raise ConfigError("policy.initial_sigma: must be null with policy.kind latent, whose spread is no one number")
    if not policy.log_sigma_min <= math.log(policy.initial_sigma) <= policy.log_sigma_max:
        raise ConfigError("policy.initial_sigma: its logarithm must lie between policy.log_sigma_min and log_sigma_max")


def _check_networks(network: NetworkConfig) -> None:
    for part, sizes in (("actor", network.actor_sizes), ("critic", network.critic_sizes)):
        if getattr(network, f"{part}_block") != "simba":
            continue
        if getattr(network, f"{part}_layer_norm"):
            raise ConfigError(f"network.{part}_layer_norm: must be false with {part}_block simba, which has its own")
        if getattr(network, f"{part}_batch_norm") != "off":
            raise ConfigError(f"network.{part}_batch_norm: must be off with {part}_block simba, which has layer norm")
        if len(set(sizes)) > 1:
            own = getattr(network, f"{part}_hidden_sizes") is not None
            key = f"{part}_hidden_sizes" if own else "hidden_sizes"
            raise ConfigError(f"network.{key}: must be alike with {part}_block simba, got {list(sizes)}")


def _check_batch_norm(config: Config) -> None:
    """Critics with batch normalization have no target network."""
    if config.network.critic_batch_norm == "off":
        return
    algorithm, usual = config.algorithm, AlgorithmConfig()
    if algorithm.name == "sac_v1":
        raise ConfigError("network.critic_batch_norm: must be off with sac_v1, which asks no critic at s'; take sac_v2")
    for key in ("tau", "target_update_interval"):
        if getattr(algorithm, key) != getattr(usual, key):
            raise ConfigError(
                f"algorithm.{key}: means nothing with network.critic_batch_norm; there is no target network"
            )


def flat(config: Config) -> dict[str, Any]:
    """{"section.key": value}."""
    return {f"{s}.{key}": value for s, section in config.to_mapping().items() for key, value in section.items()}


def refuse_changed(
    before: Mapping[str, Any], now: Mapping[str, Any], where: str, advice: str, free: tuple[str, ...] = ()
) -> None:
    """Raise `ConfigError` at the first key with another value in `now` than in `before`, which is what `where` has; of
    flat mappings. Keys that begin with one of `free` may change."""
    for key in {**now, **before}:
        if now.get(key) != before.get(key) and not key.startswith(free):
            raise ConfigError(f"{key}: {now.get(key)!r}, but {where} has {before.get(key)!r}; {advice}")


def traced(config: Config) -> dict[str, Any]:
    """{"section.key": value} of the numbers that compiled programs take as arguments."""
    return {
        f"{section.name}.{field.name}": getattr(getattr(config, section.name), field.name)
        for section in dataclasses.fields(config)
        for field in dataclasses.fields(getattr(config, section.name))
        if field.metadata["traced"]
    }
