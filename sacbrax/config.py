"""Every number a run depends on: frozen nested dataclasses, read from YAML and dotted overrides, checked before use.

Knows nothing of JAX, environments or files other than the YAML it reads. A mistake raises `ConfigError` with one line
that names the key and what would be valid. `options` has what one option is and how its value is read.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from sacbrax.options import ConfigError, ScheduleConfig, apply_override, build, option, parse_yaml, plain

# Where the configurations that come with the package are: in a wheel inside it, in a source tree beside it.
SHIPPED = (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")

__all__ = [
    "Config",
    "ConfigError",
    "ScheduleConfig",
    "apply_override",
    "find",
    "from_mapping",
    "load",
    "parse",
    "shipped_configs",
]


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    """The task, its physics engine and how many run side by side."""

    name: str = option("swimmer", "task: a registered name, or an import path `package.module:Class` of a Brax Env")
    engine: str = option("fused", "physics engine of the task", choices=("fused", "mjx"))
    num_envs: int = option(1024, "environments stepped side by side", low=1)
    episode_length: int = option(1000, "time limit of an episode in environment steps", low=1)
    links: int | None = option(None, "number of links of the swimmers (3 when null)", low=3, high=20)
    kwargs: dict[str, Any] = option({}, "further keyword arguments of the environment")
    reset_pool: int | None = option(
        None,
        "starts computed in advance, of which every reset draws one; 0: each reset computes its own; when null, the "
        "task's choice: 1024 where a reset is dear (Brax, Humanoid-v5), else 0",
        low=0,
    )
    action_repeat: int = option(
        1,
        "times the task gets each action, rewards summed. One such group is one environment step wherever these are "
        "counted: time limit, budgets, discount, speed",
        low=1,
    )
    reward_clip: float | None = option(
        None, "largest size of a reward that is learned from; returns are reported unclipped", above=0.0
    )
    randomize: str | None = option(
        None,
        "import path `package.module:function` of a function from a random key to model fields, drawn anew for every "
        "start (not in evaluations); none when null",
    )


@dataclasses.dataclass(frozen=True)
class AlgorithmConfig:
    """Soft actor-critic's own numbers."""

    name: str = option(
        "sac_v2", "sac_v1: state-value network; sac_v2: learned temperature", choices=("sac_v1", "sac_v2")
    )
    gamma: float = option(0.99, "discount per environment step", low=0.0, high=1.0)
    tau: float = option(0.005, "step of the target network towards the trained one", above=0.0, high=1.0)
    learning_rate: float | ScheduleConfig = option(3e-4, "Adam step size of actor, critics and value", above=0.0)
    actor_learning_rate: float | ScheduleConfig | None = option(
        None, "the actor's own; learning_rate when null", above=0.0
    )
    critic_learning_rate: float | ScheduleConfig | None = option(
        None, "the critics' own; learning_rate when null", above=0.0
    )
    value_learning_rate: float | ScheduleConfig | None = option(
        None, "sac_v1: the value's own; learning_rate when null", above=0.0
    )
    reward_scale: float | ScheduleConfig = option(1.0, "factor on every reward: a number or a schedule", above=0.0)
    n_step: int = option(1, "environment steps of a return before it bootstraps", low=1)
    reward_centering: float = option(
        0.0,
        "rate per vector step of the running mean reward that is subtracted from every reward; 0 is off. "
        "Only for tasks that never terminate",
        low=0.0,
        high=1.0,
    )
    target_update_interval: int = option(1, "gradient steps between two moves of the target network", low=1)
    policy_gradient: str = option(
        "reparameterized",
        "gradient of the actor: through the action, or by the score function (likelihood_ratio)",
        choices=("reparameterized", "likelihood_ratio"),
    )
    policy_q: str = option(
        "min", "Q value the actor climbs: the first critic's or the smallest", choices=("first", "min")
    )
    action_prior: str = option(
        "uniform",
        "what the policy's entropy is relative to: uniform, or standard normal",
        choices=("uniform", "normal"),
    )
    initial_temperature: float = option(1.0, "sac_v2: temperature at the start", above=0.0)
    temperature_learning_rate: float | ScheduleConfig | None = option(
        None, "sac_v2: Adam step size of log temperature; learning_rate when null", low=0.0
    )
    target_entropy: float | ScheduleConfig | None = option(
        None, "sac_v2: wanted entropy in nats; minus the action size when null"
    )


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """The distribution of actions."""

    kind: str = option(
        "gaussian",
        "distribution of the pre-tanh action: Gaussian, Gaussian mixture, or RealNVP",
        choices=("gaussian", "gmm", "latent"),
    )
    squash: bool = option(True, "actions pass through tanh; without it they are clipped by the environment")
    action_gain: float = option(
        1.0,
        "the environment gets action_gain times the action, clipped to [-1, 1]. Above 1 the policy can hold a limit "
        "and keep its entropy, which costs nothing where the clip is flat",
        above=0.0,
    )
    regularization: float = option(0.0, "weight of the policy's regularizer in the actor loss", low=0.0)
    log_sigma_min: float = option(-20.0, "lower clip of log sigma; latent: of the log scales")
    log_sigma_max: float = option(2.0, "upper clip of log sigma; latent: of the log scales")
    components: int = option(2, "gmm: number of Gaussians", low=1)
    coupling_layers: int = option(2, "latent: affine coupling layers", low=1)
    coupling_hidden_sizes: tuple[int, ...] = option((64,), "latent: hidden layers of a coupling's network", low=1)
    feature_size: int | None = option(
        None, "latent: outputs of the observation's network; twice the action size when null", low=1
    )
    candidates: int = option(32, "latent: actions among which the deterministic one is the best by Q", low=1)


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """What all networks share."""

    hidden_sizes: tuple[int, ...] = option((256, 256), "widths of the hidden layers of every network", low=1)
    activation: str = option("relu", "activation of the hidden layers", choices=("relu", "silu", "tanh", "elu", "gelu"))
    actor_layer_norm: bool = option(False, "layer norm before each activation of the actor")
    critic_layer_norm: bool = option(False, "layer norm before each activation of critics and value")
    dtype: str = option(
        "float32",
        "numbers in the hidden layers; parameters, output layers, losses and optimizer are float32",
        choices=("float32", "bfloat16"),
    )
    matmul_precision: str = option(
        "default",
        "of float32 products in the networks: the device's own, or higher (a GPU's or TPU's default rounds their "
        "inputs). Physics and statistics always have the highest",
        choices=("default", "high", "highest"),
    )
    normalize_observations: bool = option(False, "scale observations by their running mean and standard deviation")


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """The transitions that are kept."""

    capacity: int = option(1_000_000, "transitions kept on the device", low=1)
    dtype: str = option(
        "float32",
        "how they are stored. The 16-bit types take half the memory and round observations, actions and rewards (to 8 "
        "and 11 bits; float16 cuts at 65,504); ends of episodes stay exact",
        choices=("float32", "bfloat16", "float16"),
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, how much at once, and from which seed."""

    total_env_steps: int = option(1_000_000, "environment steps, exploration included", low=1)
    batch_size: int = option(256, "transitions per gradient step", low=1)
    updates_per_step: int = option(1, "gradient steps per vector step (one step of every environment)", low=1)
    exploration_env_steps: int = option(10_000, "environment steps with uniform random actions before learning", low=1)
    seed: int = option(0, "seed of everything random", low=0, high=2**32 - 1)
    max_bad_updates: int = option(100, "updates in a row with a gradient that is not finite that end the run", low=1)
    num_seeds: int = option(1, "independent agents trained side by side, seeds seed, seed+1, ...", low=1)


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Devices and processes that share one run."""

    devices: int | Literal["all"] = option(
        1, "devices to train on: a number, or all there are. On a CPU each device is a core", low=1
    )
    over: str = option(
        "batch",
        "what they share out. batch: environments, replay and minibatches of every agent, with averaged gradients; "
        "seeds: whole agents",
        choices=("batch", "seeds"),
    )
    shards: int | None = option(
        None,
        "equal parts of environments, replay and minibatch, of which each device holds the same number; one for each "
        "device when null. A run keeps its shards when it goes on with other devices",
        low=1,
    )
    processes: int | Literal["cluster"] = option(
        1,
        "processes that train one run together, each started with this configuration and its own parallel.process; "
        "cluster: as SLURM, Open MPI, GKE or a TPU pod says, by JAX's own detection",
        low=1,
    )
    process: int = option(0, "which of them this one is, from 0", low=0)
    coordinator: str | None = option(None, "host:port at which process 0 can be reached")
    join_seconds: int = option(300, "seconds that the processes wait for each other at the start", low=1)


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """How the policy is evaluated."""

    every_env_steps: int = option(100_000, "environment steps between two evaluations", low=1)
    episodes: int = option(64, "episodes per evaluation", low=1)
    deterministic: bool = option(True, "evaluate the mode of the policy instead of samples")


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """What is kept on disk to go on from."""

    every_env_steps: int | None = option(
        None,
        "environment steps between two checkpoints; when null, at evaluations, as often as takes up to 5 % of the time",
        low=1,
    )
    keep: int = option(2, "newest checkpoints kept", low=1)
    full: bool = option(True, "keep the whole state, replay included, to resume from")
    snapshots: bool = option(False, "keep a light snapshot (networks, normalizer) of every evaluation")


@dataclasses.dataclass(frozen=True)
class LoggingConfig:
    """Where the rows go, beside the run directory."""

    tensorboard: bool = option(False, "write TensorBoard event files to the run directory")
    wandb: str = option(
        "off",
        "Weights & Biases: send while training, or keep in the run directory for `wandb sync`",
        choices=("off", "offline", "online"),
    )
    wandb_project: str = option("sacbrax", "project there")
    video_every_evaluations: int = option(
        0, "evaluations between two videos of the policy, drawn beside the training; 0 is none", low=0
    )
    video_formats: tuple[str, ...] = option(
        ("mp4",), "of those videos; TensorBoard gets a gif in any case", choices=("mp4", "gif", "html")
    )


# What may be loaded into a new run, and the parameter group it is.
PARTS = {"policy": "actor", "critics": "critic", "value": "value", "temperature": "log_temperature"}


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """What a run starts with, instead of fresh networks."""

    from_: str | None = option(None, "run directory or policy file whose networks to start with; none when null")
    parts: tuple[str, ...] = option(tuple(PARTS), "which of them, as far as both runs have them", choices=tuple(PARTS))


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where a run lives."""

    dir: str | None = option(None, "run directory; runs/<config name>/<date-time> when null")
    compilation_cache: bool = option(True, "keep compiled programs in the user's cache directory for the next run")


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole configuration of a run; `from_mapping`, `load` and `override` are the ways to make one."""

    env: EnvConfig = dataclasses.field(default_factory=EnvConfig)
    algorithm: AlgorithmConfig = dataclasses.field(default_factory=AlgorithmConfig)
    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
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
    def iterations_per_epoch(self) -> int:
        """Vector steps between two evaluations: `eval.every_env_steps` in whole vector steps, at most the whole run."""
        return max(1, min(round(self.eval.every_env_steps / self.env.num_envs), self._learning_iterations))

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
        return None if every is None else max(1, round(every / self.env.num_envs))

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
    """Build a `Config` from nested mappings; missing keys take their defaults. Raises `ConfigError`."""
    return build(Config, mapping, "")


def find(name: str | Path) -> Path:
    """The file of this name, or else the shipped configuration: `swimmer` and `configs/swimmer.yaml` are the same."""
    path = Path(name)
    key = path.with_suffix("").as_posix().removeprefix("configs/")
    shipped = {} if path.is_file() or path.suffix not in ("", ".yaml") else shipped_configs()
    return shipped.get(key, path)


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with the package: name -> file."""
    folder = next((folder for folder in SHIPPED if folder.is_dir()), SHIPPED[0])
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.yaml"))}


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file or a shipped configuration (see `find`), apply `key.sub=value` overrides and check everything.

    Raises `ConfigError`.
    """
    path = find(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        shipped = ", ".join(shipped_configs())
        raise ConfigError(f"{path}: cannot read the configuration: No such file; shipped are {shipped}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None
    return parse(text, str(path), overrides)


def parse(text: str, where: str, overrides: Iterable[str] = ()) -> Config:
    """The configuration in a YAML text with overrides; `where` names it in messages. Raises `ConfigError`."""
    mapping = parse_yaml(text, where)
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, dict):
        raise ConfigError(f"{where}: expected sections such as `train:` with keys below them")
    for override in overrides:
        apply_override(mapping, override)
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
    parallel = config.parallel
    if parallel.processes not in (1, "cluster"):
        if parallel.process >= int(parallel.processes):
            raise ConfigError(f"parallel.process: must be below parallel.processes = {parallel.processes}")
        if parallel.coordinator is None or not parallel.coordinator.rpartition(":")[2].isdigit():
            raise ConfigError("parallel.coordinator: expected host:port of process 0, such as 10.0.0.1:1234")
        if parallel.devices != "all" and int(parallel.devices) % int(parallel.processes):
            raise ConfigError(f"parallel.devices: must be all, or divide by parallel.processes = {parallel.processes}")
    if config.policy.log_sigma_min >= config.policy.log_sigma_max:
        raise ConfigError("policy.log_sigma_min: must be below policy.log_sigma_max")
    if config.iterations_per_epoch * config.num_epochs + config.exploration_iterations >= 2**31:
        raise ConfigError("train.total_env_steps: more than 2**31 vector steps; use more env.num_envs")
