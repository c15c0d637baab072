"""Our own SAC through the same harness: the programs of a run, driven chunk by chunk. `config` in the job names a YAML
file whose settings are taken as they are; otherwise the settings are the peers'. Nothing comes from a cache."""

from typing import Any

import jax
import numpy as np
from recorder import Recorder

from sacbrax import config as config_lib
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer


def configuration(job: dict[str, Any]) -> config_lib.Config:
    """The shipped settings that the job names, or the peers'."""
    common = [f"train.seed={job['seed']}", f"eval.episodes={job['episodes']}"]
    if job.get("config"):
        return config_lib.load(job["config"], common)
    mapping: dict[str, Any] = {
        "env": {"name": "swimmer", "engine": "fused", "num_envs": job["num_envs"]},
        "algorithm": {"name": "sac_v2"} | {key: job[key] for key in ("gamma", "tau", "learning_rate")},
        "network": {"hidden_sizes": job["hidden"]},
        "replay": {"capacity": job["capacity"]},
        "train": {
            "batch_size": job["batch_size"],
            "updates_per_step": job["updates"],
            "exploration_env_steps": job["exploration"],
        },
    }
    for override in common:
        config_lib.apply_override(mapping, override)
    return config_lib.from_mapping(mapping)


def main() -> None:
    """Train until the recorder is done."""
    recorder = Recorder()
    job = recorder.job
    config = configuration(job)
    trainer = Trainer(config)
    programs, hyper = Programs(trainer), trainer.hyper()
    key, evaluation_key = programs.keys(config.train.seed)
    shapes = jax.eval_shape(programs.init, key, hyper)
    sums = jax.eval_shape(programs.zero_sums, shapes)
    wanted = {"init": (key, hyper), "prefill": (shapes, hyper), "advance": (shapes, sums, hyper, np.int32(1))}
    compiled = programs.compile(wanted)
    state = compiled["prefill"](compiled["init"](key, hyper), hyper)
    sums = programs.zero_sums(state)
    num_envs, updates = config.env.num_envs, config.train.updates_per_step
    explored, iterations = config.exploration_iterations, job["chunk"] // updates
    while not recorder.done():
        state, sums = compiled["advance"](state, sums, hyper, np.int32(iterations))
        jax.block_until_ready((state, sums))
        done = (len(recorder.marks) + 1) * iterations
        recorder.mark((explored + done) * num_envs, done * updates)
        if recorder.evaluation_due():
            recorder.evaluate(lambda state=state: np.mean(programs.evaluate(state, evaluation_key)["return"]))
    recorder.finish()


if __name__ == "__main__":
    main()
