"""What the checkpoint and fault tests share: an environment that compiles fast, its runs, and their comparison."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from logs import learning
from shared_programs import run_sharing

from sacbrax import config as config_lib
from sacbrax.checkpoint import files as checkpoint_files
from sacbrax.config import Config
from sacbrax.engines.upstream import Env, State
from sacbrax.run.loop import Result

TESTS = Path(__file__).parent
YAML = """
env: {name: "resumable:Drift", num_envs: 4, episode_length: 12}
algorithm: {n_step: 2, reward_centering: 0.1}
network: {hidden_sizes: [8], normalize_observations: true}
replay: {capacity: 400}
train: {total_env_steps: 840, batch_size: 16, exploration_env_steps: 40}
eval: {every_env_steps: 80, episodes: 3}
checkpoint: {every_env_steps: 80}
"""


class Drift(Env):
    """A point that drifts and pays its speed. Beyond `bad_above` it pays `bad_reward`, or is not seen any more."""

    observation_size, action_size, backend = 2, 1, "probe"

    def __init__(self, bad_above: float = 1000.0, bad_reward: float = 0.0, bad_observation: bool = False):
        self.bad_above, self.bad_reward, self.bad_observation = bad_above, bad_reward, bad_observation

    def reset(self, rng: Any) -> State:
        obs = jnp.concatenate([jax.random.normal(rng, (1,)), jnp.zeros(1)])
        return State(obs, obs, jnp.zeros(()), jnp.zeros(()))

    def step(self, state: State, action: Any) -> State:
        position, time = 0.9 * state.obs[0] + action[0], state.obs[1] + 1
        bad = position > self.bad_above
        reward = jnp.where(bad, self.bad_reward, action[0])
        obs = jnp.stack([jnp.where(bad & self.bad_observation, jnp.nan, position), time])
        return state.replace(pipeline_state=obs, obs=obs, reward=reward, done=jnp.zeros(()))


def configure(directory: Path, *overrides: str) -> Config:
    """The tiny run in `directory`."""
    return config_lib.parse(YAML, "tiny", [*overrides, f"run.dir={directory}"])


def train(directory: Path, *overrides: str) -> Result:
    """Run it in this process, with the programs of an earlier run that needed the same."""
    return run_sharing(configure(directory, *overrides))


def environment() -> dict[str, str]:
    """In which a process of its own finds this package and these environments, on a CPU."""
    return os.environ | {"PYTHONPATH": f"{TESTS.parents[1]}{os.pathsep}{TESTS}", "JAX_PLATFORMS": "cpu"}


def start(directory: Path, *overrides: str) -> subprocess.Popen[str]:
    """The same as a process of its own, by the command line."""
    config = directory.parent / "tiny.yaml"
    config.write_text(YAML)
    command = [sys.executable, "-m", "sacbrax.train", str(config), "--quiet", f"run.dir={directory}", *overrides]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def newest(directory: Path) -> Path:
    """The newest checkpoint."""
    return directory / "checkpoints" / checkpoint_files.names(directory / "checkpoints")[-1]


def arrays(directory: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, at the shapes that its own manifest lists."""

    def listed(notes: dict[str, Any]) -> Any:
        body = json.loads(json.loads((newest(directory) / "manifest.json").read_text())["body"])
        return {key: (tuple(shape), dtype) for key, (shape, dtype) in body["arrays"].items()}

    return checkpoint_files.read(newest(directory), listed)[0]


def assert_same_run(one: Path, other: Path) -> None:
    """Same final state to the last bit, same log, and both log files whole and in step."""
    left, right = arrays(one), arrays(other)
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == right[key].dtype
        assert left[key].tobytes() == right[key].tobytes(), key
    assert learning(one) == learning(other)
    for directory in (one, other):
        assert len((directory / "progress.csv").read_text().splitlines()) == len(learning(directory)) + 1
    assert (one / "checkpoints/best_policy.npz").read_bytes() == (other / "checkpoints/best_policy.npz").read_bytes()
