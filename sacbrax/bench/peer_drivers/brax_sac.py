"""Brax's SAC on Brax's own swimmer (generalized backend, Euler). It evaluates by itself, after
every epoch."""

import contextlib
import functools
from typing import Any

from brax import envs
from brax.training.agents.sac import networks, train
from recorder import Recorder

EPOCHS = 10_000  # more than anybody waits for


class Stop(Exception):
    """Raised out of the progress function: `train` has no other way to end early."""


def main() -> None:
    """Train until the recorder is done."""
    recorder = Recorder()
    job = recorder.job
    # It always evaluates at the end of an epoch, so an epoch is as long as the others go between two evaluations.
    epoch_steps = recorder.vector_steps * job["num_envs"] * job["evaluate_every"]

    def progress(env_steps: int, metrics: dict[str, Any]) -> None:
        seconds = float(metrics["eval/walltime"])
        if env_steps == 0:  # before training
            return
        updates = (env_steps - job["exploration"]) // job["num_envs"] * job["updates"]
        recorder.mark(env_steps, updates, outside=seconds)
        recorder.returns.append((recorder.marks[-1][0], float(metrics["eval/episode_reward"])))
        if recorder.done():
            raise Stop

    with contextlib.suppress(Stop):
        train.train(
            environment=envs.get_environment("swimmer", backend="generalized"),
            num_timesteps=job["exploration"] + EPOCHS * epoch_steps,
            num_evals=EPOCHS + 1,
            episode_length=1000,
            num_envs=job["num_envs"],
            num_eval_envs=job["episodes"],
            deterministic_eval=True,
            learning_rate=job["learning_rate"],
            discounting=job["gamma"],
            tau=job["tau"],
            seed=job["seed"],
            batch_size=job["batch_size"],
            min_replay_size=job["exploration"],
            max_replay_size=job["capacity"],
            grad_updates_per_step=job["updates"],
            network_factory=functools.partial(networks.make_sac_networks, hidden_layer_sizes=tuple(job["hidden"])),
            progress_fn=progress,
        )
    recorder.finish()


if __name__ == "__main__":
    main()
