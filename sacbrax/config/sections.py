"""The sections of a configuration: every key with its type, default, help and valid range.

A section knows none of the others: `config` reads the file and checks what several keys must agree on.
"""

import dataclasses
from typing import Any, Literal

from sacbrax.config.named import ALGORITHMS, CRITICS, ENGINES, POLICIES
from sacbrax.config.option import ScheduleConfig, option
from sacbrax.config.presets import PRESETS

# Headings over keys that matter in one case alone.
SAC_V1, SAC_V2 = "Only with `algorithm.name: sac_v1`", "Only with `algorithm.name: sac_v2`"
MIXTURE, LATENT = "Only with `policy.kind: gmm`", "Only with `policy.kind: latent`"
CATEGORICAL = "Only with `critic.kind: categorical`"
LAUNCHER = "What a launcher tells each of several processes"

BLOCKS = ("plain", "simba")
BATCH_NORMS = ("off", "batch", "renorm")
PLAYGROUND = "playground:"  # begins the name of a task of MuJoCo Playground
SOLVER_LIMITS = {"solver_iterations", "ls_iterations", "contacts"}  # options of a task that change its accuracy alone


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    """The task, its physics engine and how many run side by side."""

    name: str = option(
        "swimmer",
        "task: a registered name, `playground:Task` of MuJoCo Playground, or an import path `package.module:Class` of "
        "a Brax Env",
    )
    engine: str | None = option(
        None,
        "physics engine of the task; when null, fused where it covers the task, else mjx; of playground: mjx",
        choices=tuple(ENGINES),
    )
    num_envs: int = option(1024, "environments stepped side by side", low=1)
    episode_length: int = option(1000, "time limit of an episode in environment steps", low=1)
    links: int | None = option(None, "number of links of the swimmers (3 when null)", low=3, high=20)
    kwargs: dict[str, Any] = option({}, "further keyword arguments of the environment")
    reset_pool: int | None = option(
        None,
        "starts computed in advance, and anew after every evaluation, of which every reset draws one; 0: each reset "
        "computes its own; when null, the "
        "task's choice: 1024 where a reset is dear (Brax, Humanoid-v5), else 0; with randomize 0",
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
        "import path `package.module:function` of a function from a random key to model fields, or in Brax's form from "
        "(model, keys) to (models, in_axes), drawn anew for every start (in evaluations with eval.randomize alone); "
        "none when null",
    )
    curriculum: str | None = option(
        None,
        "import path `package.module:function` of a function from the numbers of an evaluation to those that the "
        "environments go on with, such as bounds of what randomize draws; none when null",
    )

    @property
    def imported(self) -> bool:
        """Whether `name` is the import path of a class outside this package."""
        return ":" in self.name and not self.name.startswith(PLAYGROUND)


@dataclasses.dataclass(frozen=True)
class AlgorithmConfig:
    """Soft actor-critic's own numbers."""

    name: str = option("sac_v2", "sac_v1: state-value network; sac_v2: learned temperature", choices=tuple(ALGORITHMS))
    preset: str = option(
        "sac",
        "published variant whose settings stand in for the defaults, of this section and others; what is said "
        "elsewhere wins. [What each changes](algorithms.md)",
        choices=tuple(PRESETS),
    )
    gamma: float = option(0.99, "discount per environment step", low=0.0, high=1.0, traced=True)
    tau: float = option(0.005, "step of the target network towards the trained one", above=0.0, high=1.0, traced=True)
    learning_rate: float | ScheduleConfig = option(
        3e-4, "Adam step size of actor, critics and value", above=0.0, traced=True
    )
    actor_learning_rate: float | ScheduleConfig | None = option(
        None,
        "the actor's own; learning_rate when null",
        above=0.0,
        traced=True,
    )
    critic_learning_rate: float | ScheduleConfig | None = option(
        None,
        "the critics' own; learning_rate when null",
        above=0.0,
        traced=True,
    )
    max_grad_norm: float | None = option(
        None,
        "longest gradient of each of actor, critics (together), value and temperature: longer ones are scaled to it; "
        "any when null",
        above=0.0,
        traced=True,
    )
    weight_decay: float | None = option(
        None,
        "what each step takes off the matrices, times the learning rate and the matrix (AdamW); nothing when null",
        above=0.0,
        traced=True,
    )
    adam_b1: float = option(0.9, "Adam's decay of the mean gradient", low=0.0, high=0.9999)
    adam_b2: float = option(0.999, "Adam's decay of the mean squared gradient", low=0.0, high=0.999999)
    reward_scale: float | ScheduleConfig = option(
        1.0, "factor on every reward: a number or a schedule", above=0.0, traced=True
    )
    n_step: int = option(1, "environment steps of a return before it bootstraps", low=1)
    reward_centering: float = option(
        0.0,
        "rate per vector step of the running mean reward that is subtracted from every reward; 0 is off. "
        "Only for tasks that never terminate; a run whose episodes do says so",
        low=0.0,
        high=1.0,
        traced=True,
    )
    normalize_rewards: bool = option(
        False,
        "divide every reward by the running standard deviation of the discounted return",
    )
    target_update_interval: int = option(1, "gradient steps between two moves of the target network", low=1)
    policy_delay: int = option(
        1,
        "gradient steps to one that the actor and the temperature take part in, the last of so many. Divides "
        "train.updates_per_step, or is a multiple of it",
        low=1,
    )
    num_critics: int = option(2, "critics, each with parameters and a loss of its own", low=1)
    target_critics: int | None = option(
        None, "how many of them, drawn anew for every update, have a say in its targets; all when null", low=1
    )
    target_q: str = option("min", "their value that targets have: the smallest, or the mean", choices=("min", "mean"))
    policy_gradient: str = option(
        "reparameterized",
        "gradient of the actor: through the action, or by the score function (likelihood_ratio)",
        choices=("reparameterized", "likelihood_ratio"),
    )
    policy_q: str = option(
        "min",
        "Q value the actor climbs: the first critic's, the smallest, or the mean of all",
        choices=("first", "min", "mean"),
    )
    action_prior: str = option(
        "uniform",
        "what the policy's entropy is relative to: uniform, or standard normal",
        choices=("uniform", "normal"),
    )
    value_learning_rate: float | ScheduleConfig | None = option(
        None,
        "the value's own; learning_rate when null",
        above=0.0,
        traced=True,
        group=SAC_V1,
    )
    initial_temperature: float = option(1.0, "temperature at the start", above=0.0, traced=True, group=SAC_V2)
    temperature_learning_rate: float | ScheduleConfig | None = option(
        None,
        "Adam step size of log temperature; learning_rate when null",
        low=0.0,
        traced=True,
        group=SAC_V2,
    )
    target_entropy: float | ScheduleConfig | None = option(
        None,
        "wanted entropy in nats; by target_sigma, or else minus the action size when null. Squashed actions have at "
        "most ln 2 each",
        traced=True,
        group=SAC_V2,
    )
    target_sigma: float | None = option(
        None,
        "the same as the standard deviation of normal actions that have it, for every number of them: -1 each is 0.089",
        above=0.0,
        traced=True,
        group=SAC_V2,
    )


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """The distribution of actions."""

    kind: str = option(
        "gaussian",
        "distribution of the pre-tanh action: Gaussian, Gaussian mixture, or RealNVP",
        choices=tuple(POLICIES),
    )
    squash: bool = option(True, "actions pass through tanh; without it they are clipped by the environment")
    action_gain: float = option(
        1.0,
        "the environment gets action_gain times the action in [-1, 1], clipped to it again. Above 1 the policy can "
        "hold a limit and keep its entropy, which costs nothing where the clip is flat",
        above=0.0,
    )
    regularization: float = option(0.0, "weight of the policy's regularizer in the actor loss", low=0.0, traced=True)
    log_sigma_min: float = option(-20.0, "lower clip of log sigma; latent: of the log scales")
    log_sigma_max: float = option(2.0, "upper clip of log sigma; latent: of the log scales")
    initial_sigma: float | None = option(
        None,
        "sigma of every Gaussian at the start, in every state, before tanh; as the fresh network has it (about 1) when "
        "null. Not for latent",
        above=0.0,
    )
    noise_repeat: int = option(
        1, "vector steps for which exploring actions keep their random numbers, so that they vary more slowly", low=1
    )
    noise_min: float = option(
        0.0, "deviation of noise added to the actions of the first environment while training", low=0.0
    )
    noise_max: float = option(0.0, "and to those of the last; the others lie evenly between", low=0.0)
    average_tau: float | None = option(
        None,
        "evaluations, policy files and videos have a slow copy of the policy, which goes this share of the way to it "
        "after the updates of every vector step; the policy of the moment when null",
        above=0.0,
        high=1.0,
        traced=True,
    )
    components: int = option(2, "number of Gaussians", low=1, group=MIXTURE)
    coupling_layers: int = option(2, "affine coupling layers", low=1, group=LATENT)
    coupling_hidden_sizes: tuple[int, ...] = option((64,), "hidden layers of a coupling's network", low=1, group=LATENT)
    feature_size: int | None = option(
        None, "outputs of the observation's network; twice the action size when null", low=1, group=LATENT
    )
    candidates: int = option(32, "actions among which the deterministic one is the best by Q", low=1, group=LATENT)


@dataclasses.dataclass(frozen=True)
class CriticConfig:
    """What the critics' networks put out, and how it is fitted."""

    kind: str = option(
        "scalar",
        "scalar: the value, by squared distance; categorical (C51): a distribution of returns over fixed atoms, by "
        "cross-entropy",
        choices=tuple(CRITICS),
    )
    num_atoms: int = option(101, "possible returns between v_min and v_max", low=2, group=CATEGORICAL)
    v_min: float | None = option(
        None,
        "smallest return that a critic can promise, in units of reward_scale times reward; this kind needs a number",
        group=CATEGORICAL,
    )
    v_max: float | None = option(None, "the largest, likewise", group=CATEGORICAL)
    atom_spacing: str = option(
        "linear",
        "gaps between the atoms: equal, or equal for sign(z) ln(1 + |z|), where returns of every size have atoms near",
        choices=("linear", "symlog"),
        group=CATEGORICAL,
    )


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """What all networks share."""

    hidden_sizes: tuple[int, ...] = option((256, 256), "widths of the hidden layers of every network", low=1)
    actor_hidden_sizes: tuple[int, ...] | None = option(None, "the actor's own; hidden_sizes when null", low=1)
    critic_hidden_sizes: tuple[int, ...] | None = option(
        None, "those of critics and value; hidden_sizes when null", low=1
    )
    activation: str = option("relu", "activation of the hidden layers", choices=("relu", "silu", "tanh", "elu", "gelu"))
    actor_block: str = option(
        "plain",
        "the actor's hidden layers: plain ones, or residual blocks (simba), one for each hidden size, all of one size",
        choices=BLOCKS,
    )
    critic_block: str = option("plain", "the same of critics and value", choices=BLOCKS)
    actor_layer_norm: bool = option(False, "layer norm before each activation of the actor")
    critic_layer_norm: bool = option(False, "layer norm before each activation of critics and value")
    actor_weight_norm: bool = option(
        False,
        "the actor's hidden layers have weights of length 1 for each unit, kept so after each update, and a scale",
    )
    critic_weight_norm: bool = option(False, "the same of critics and value")
    actor_batch_norm: str = option(
        "off",
        "batch normalization of the actor's input and hidden layers, by the minibatch in updates, else by running "
        "statistics. renorm: with constants that take most of that difference away",
        choices=BATCH_NORMS,
    )
    critic_batch_norm: str = option(
        "off",
        "the same of critics, which then see s and s' in one batch and have no target network. Only with sac_v2",
        choices=BATCH_NORMS,
    )
    dtype: str = option(
        "float32",
        "numbers in the hidden layers while learning; parameters, output layers, losses and optimizer are float32, and "
        "so are policies that are evaluated, kept or exported",
        choices=("float32", "bfloat16"),
    )
    matmul_precision: str = option(
        "default",
        "of float32 products in the networks: the device's own, or higher (a GPU's or TPU's default rounds their "
        "inputs). Physics, statistics and evaluations always have the highest",
        choices=("default", "high", "highest"),
    )
    normalize_observations: bool = option(False, "scale observations by their running mean and standard deviation")

    @property
    def actor_sizes(self) -> tuple[int, ...]:
        """Widths of the actor's hidden layers."""
        return self.actor_hidden_sizes or self.hidden_sizes

    @property
    def critic_sizes(self) -> tuple[int, ...]:
        """Widths of the hidden layers of critics and value."""
        return self.critic_hidden_sizes or self.hidden_sizes

    @property
    def widest(self) -> int:
        """Width of the widest layer of all; a block of SimBa is four times as wide inside."""
        parts = ((self.actor_block, self.actor_sizes), (self.critic_block, self.critic_sizes))
        return max(max(sizes) * (4 if block == "simba" else 1) for block, sizes in parts)


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """The transitions that are kept."""

    capacity: int = option(1_000_000, "transitions kept on the device", low=1, high=2**30)
    prior: str | None = option(
        None,
        "file of transitions, as `python -m sacbrax.replay save RUN FILE.npz` writes it, of which half of every "
        "minibatch is; no such file when null",
    )
    dtype: str = option(
        "float32",
        "how they are stored. The 16-bit types take half the memory and round observations, actions and rewards (to 8 "
        "and 11 bits; float16 cuts at 65,504); ends of episodes stay exact",
        choices=("float32", "bfloat16", "float16"),
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, how much at once, and from which seed."""

    total_env_steps: int = option(1_000_000, "environment steps, exploration included", low=1, wide=True)
    batch_size: int = option(256, "transitions per gradient step", low=1)
    updates_per_step: int = option(1, "gradient steps per vector step (one step of every environment)", low=1)
    update_interval: int = option(
        1,
        "vector steps to a round of so many gradient steps: with 4, updates_per_step 1 means one gradient step in four "
        "vector steps, for thousands of environments",
        low=1,
    )
    exploration_env_steps: int = option(
        10_000, "environment steps with uniform random actions before learning", low=1, wide=True
    )
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
    threads: int | None = option(
        None,
        "threads of a CPU in all: when null, one where all arrays are small, which is fastest there, else one for each "
        "core. The environment's NPROC wins",
        low=1,
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
        group=LAUNCHER,
    )
    process: int = option(0, "which of them this one is, from 0", low=0, group=LAUNCHER)
    coordinator: str | None = option(None, "host:port at which process 0 can be reached", group=LAUNCHER)
    join_seconds: int = option(
        300, "seconds that the processes wait for each other at the start", low=1, group=LAUNCHER
    )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """How the policy is evaluated."""

    every_env_steps: int = option(100_000, "environment steps between two evaluations", low=1, wide=True)
    episodes: int = option(64, "episodes per evaluation", low=1)
    randomize: bool = option(
        False, "evaluate on models that env.randomize draws, as training has them, instead of the task's own"
    )
    deterministic: bool = option(True, "evaluate the mode of the policy instead of samples")


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """What is kept on disk to go on from."""

    every_env_steps: int | None = option(
        None,
        "environment steps between two checkpoints; when null, at evaluations, as often as takes up to 5 % of the time",
        low=1,
        wide=True,
    )
    keep: int = option(2, "newest checkpoints kept", low=1)
    full: bool = option(True, "keep the whole state, replay included, to resume from")
    snapshots: bool = option(False, "keep a light snapshot (networks, normalizer) of every evaluation")
    mirror: str | None = option(
        None, "URL, such as gs://bucket/runs, below which finished checkpoints are copied, by fsspec; nowhere when null"
    )


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
    mlflow: bool = option(False, "MLflow: send to the store or the server that MLFLOW_TRACKING_URI names")
    mlflow_experiment: str = option("sacbrax", "experiment there")
    trackio: bool = option(False, "Trackio: keep in its local database, or send where TRACKIO_SPACE_ID says")
    trackio_project: str = option("sacbrax", "project there")
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

    dir: str | None = option(None, "run directory; runs/<run.name>/<date-time> when null")
    name: str | None = option(None, "name in such a directory; where it is not given, that of the configuration's file")
    compilation_cache: bool = option(
        True,
        "keep compiled programs for the next run, in the user's cache directory or in JAX_COMPILATION_CACHE_DIR",
    )
    gpu_graph: bool = option(
        False, "a GPU runs a program's loop as one CUDA graph, without the host in between; not tried on a GPU yet"
    )
    gpu_kernel: bool = option(
        False, "a GPU steps the fused engine as one Triton kernel in place of many; not tried on a GPU yet"
    )
