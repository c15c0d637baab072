"""One episode of a policy, step by step: what was seen, done and earned, and the poses that pictures are drawn from.

On the engine of training, on another of ours, or in Gymnasium's own task. Knows no pictures.
"""

import dataclasses
import inspect
from typing import Any

import mujoco
import numpy as np

from sacbrax.config import ConfigError, EnvConfig
from sacbrax.config.named import ENGINES as OURS
from sacbrax.config.option import build
from sacbrax.config.sections import SOLVER_LIMITS
from sacbrax.core.errors import one_line
from sacbrax.engines.model_warnings import unheard
from sacbrax.policy_file.files import task
from sacbrax.policy_file.numpy_policy import NumpyPolicy, PolicyFileError

GYMNASIUM_IDS = {
    "swimmer": "Swimmer-v5",
    "ant_v5": "Ant-v5",
    "halfcheetah_v5": "HalfCheetah-v5",
    "hopper_v5": "Hopper-v5",
    "humanoid_v5": "Humanoid-v5",
    "humanoidstandup_v5": "HumanoidStandup-v5",
    "inverted_pendulum_v5": "InvertedPendulum-v5",
    "inverted_double_pendulum_v5": "InvertedDoublePendulum-v5",
    "pusher_v5": "Pusher-v5",
    "reacher_v5": "Reacher-v5",
    "walker2d_v5": "Walker2d-v5",
}
ENGINES = ("gymnasium", *reversed(OURS))


@dataclasses.dataclass(frozen=True)
class Episode:
    """T steps and the start before them."""

    task: str
    engine: str
    dt: float  # s per step, which is as many of the task's own as the policy repeats an action
    observation: np.ndarray  # [T + 1, O]
    action: np.ndarray  # [T, A]
    reward: np.ndarray  # [T]
    qpos: np.ndarray | None  # [T + 1, nq]; None where the task's physics is not MuJoCo's
    model: mujoco.MjModel | None

    @property
    def returns(self) -> np.ndarray:
        """The return so far at the start and after each step, [T + 1]."""
        return np.concatenate([[0.0], np.cumsum(self.reward)])


def play(
    policy: NumpyPolicy, engine: str | None = None, seed: int = 0, steps: int | None = None, *, imports: bool = False
) -> Episode:
    """An episode of the deterministic policy, at most `steps` long; `imports` allows the file to name a class outside
    the package. Raises ConfigError or PolicyFileError where the task cannot be made."""
    if engine == "gymnasium":
        return _play_gymnasium(policy, seed, steps)
    import jax

    from sacbrax.envs import compiled, mujoco_model

    env, config = task(policy, engine, imports=imports)
    reset, step = compiled(env)
    state = reset(jax.random.key(seed))
    record = _Record(state.obs, _qpos(state))
    for _ in range(config.episode_length if steps is None else min(config.episode_length, steps)):
        action = policy(record.observation[-1])
        state = step(state, action)
        record.add(action, state.reward, state.obs, _qpos(state))
        if state.done:
            break
    inner: Any = env.unwrapped
    dt = float(getattr(inner, "dt", 1.0)) * config.action_repeat
    # Some tasks bring their own physics, whatever engine is asked for.
    return record.episode(config.name, env.backend, dt, mujoco_model(env))


def gymnasium_env(policy: NumpyPolicy) -> Any:
    """Gymnasium's own version of the policy's task. Raises ConfigError when there is none, or no Gymnasium."""
    config: EnvConfig = build(EnvConfig, policy.header.get("env"), "env")
    name = GYMNASIUM_IDS.get(config.name)
    if name is None or config.links not in (None, 3):
        raise ConfigError(
            f"--engine: the task {config.name} has no Gymnasium twin; choose from {', '.join(OURS)} "
            f"(twins have {', '.join(GYMNASIUM_IDS)})"
        )
    try:
        import gymnasium
    except ImportError:
        raise ConfigError("--engine: gymnasium is not installed; pip install 'sacbrax[gymnasium]'") from None
    given = {key: value for key, value in config.kwargs.items() if key not in SOLVER_LIMITS}
    known = inspect.signature(
        gymnasium.envs.registration.load_env_creator(str(gymnasium.spec(name).entry_point))
    ).parameters
    for key in given:
        if key not in known or known[key].kind is inspect.Parameter.VAR_KEYWORD:
            raise ConfigError(f"--engine: {name} of this Gymnasium takes no {key}; choose from {', '.join(known)}")
    try:
        with unheard():  # its limit counts every repetition of an action
            return gymnasium.make(name, max_episode_steps=config.episode_length * config.action_repeat, **given)
    except (TypeError, ValueError, OSError) as error:  # a value or a model that Gymnasium does not take
        raise ConfigError(f"--engine: Gymnasium cannot make {name} with {given}: {one_line(error)}") from None


def in_bounds(action: np.ndarray, space: Any) -> np.ndarray:
    """An action [..., A] in [-1, 1], stretched to the bounds of a Gymnasium space."""
    return space.low + (action + 1.0) * 0.5 * (space.high - space.low)


def step_gymnasium(env: Any, action: np.ndarray, times: int) -> tuple[np.ndarray, float, bool]:
    """The same action `times` times or until the episode is over: observation, sum of rewards, whether it is over."""
    total = 0.0
    for _ in range(times):
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        if terminated or truncated:
            return observation, total, True
    return observation, total, False


def _play_gymnasium(policy: NumpyPolicy, seed: int, steps: int | None) -> Episode:
    env = gymnasium_env(policy)
    repeat = build(EnvConfig, policy.header.get("env"), "env").action_repeat
    inner, space = env.unwrapped, env.action_space
    observation, ended = env.reset(seed=seed)[0], False
    record = _Record(observation, inner.data.qpos)
    while not ended and (steps is None or len(record.reward) < steps):
        action = policy(record.observation[-1])
        observation, total, ended = step_gymnasium(env, in_bounds(action, space), repeat)
        record.add(action, total, observation, inner.data.qpos)
    episode = record.episode(env.spec.id, "gymnasium", float(inner.dt) * repeat, inner.model)
    env.close()
    return episode


class _Record:
    """What an episode collects."""

    def __init__(self, observation: Any, qpos: Any):
        self.observation, self.qpos = [np.array(observation)], [np.array(qpos)]
        self.action: list[np.ndarray] = []
        self.reward: list[float] = []

    def add(self, action: np.ndarray, reward: Any, observation: Any, qpos: Any) -> None:
        self.action.append(action)
        self.reward.append(float(reward))
        self.observation.append(np.array(observation))
        self.qpos.append(np.array(qpos))

    def episode(self, name: str, engine: str, dt: float, model: mujoco.MjModel | None) -> Episode:
        qpos = np.stack(self.qpos)
        drawable = model is not None and qpos.shape[1:] == (model.nq,)
        arrays = (np.stack(self.observation), np.stack(self.action), np.array(self.reward))
        return Episode(name, engine, dt, *arrays, *((qpos, model) if drawable else (None, None)))


def _qpos(state: Any) -> Any:
    """The joint positions in a Brax state, as MuJoCo orders them; None where it has none."""
    physics = state.pipeline_state
    return getattr(physics, "qpos", getattr(physics, "q", None))


def poses(episode: Episode) -> tuple[mujoco.MjModel, np.ndarray]:
    """Model and joint positions [T + 1, nq] to draw. Raises PolicyFileError where there is nothing to draw."""
    if episode.model is None or episode.qpos is None:
        raise PolicyFileError(f"the task {episode.task} has no MuJoCo model and joint positions to draw")
    return episode.model, episode.qpos
