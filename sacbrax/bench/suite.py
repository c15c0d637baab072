"""A list of tasks, each trained by the same recipe for the same time, one after the other: table, plot, and public
figures beside them.

Every run is a process of its own, `python -m sacbrax.train`, that is asked to save and end when its time is over. A
call that was interrupted goes on where it was; what is finished is not trained again.
"""

import argparse
import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacbrax import config as config_lib
from sacbrax.bench import suite_results
from sacbrax.cli import COUNT, duration, file_first
from sacbrax.config import ConfigError
from sacbrax.config.sections import PLAYGROUND
from sacbrax.core.errors import last_line
from sacbrax.core.files import lock, write_atomically
from sacbrax.core.signals import Interrupt
from sacbrax.envs import ENVS
from sacbrax.view.figures import load_matplotlib

RECIPE = "playground/dm_control"
ENDED = (128 + signal.SIGTERM, -signal.SIGTERM)  # status of a run that was asked to end; the latter before it listened
DONE = "suite.json"  # in a run's directory, of a run that is over


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of the suite."""

    task: str
    seed: int
    run: Path
    words: tuple[str, ...]  # of `python -m sacbrax.train`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("config", nargs="?", default=RECIPE, help=f"recipe, YAML file or name, as for train ({RECIPE})")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values that replace the recipe's")
    parser.add_argument(
        "--tasks", nargs="+", metavar="TASK", help="names of Playground's, or of env.name (all DM Control tasks)"
    )
    parser.add_argument("--seconds", type=duration, default=600.0, help="of each run, compilation included (600)")
    parser.add_argument("--seeds", type=COUNT, default=1, help="runs of each task, with seeds 0, 1, ... (1)")
    parser.add_argument("--out", type=Path, default=Path("runs/suite"), help="folder of runs and results (runs/suite)")


def prepare(args: argparse.Namespace) -> None:
    """Mistakes are found before anything is trained."""
    config, args.overrides = file_first(args.config, args.overrides)
    args.config = config or RECIPE
    words = args.tasks or []  # argparse takes what follows the tasks for tasks too
    args.overrides += [word for word in words if "=" in word]
    args.tasks = [word for word in words if "=" not in word] or dm_control()
    load_matplotlib()
    args.jobs = jobs(args)
    for job in args.jobs:
        config_lib.load(job.words[0], job.words[1:])


def jobs(args: argparse.Namespace) -> list[Job]:
    """All runs, a whole suite with one seed before the next."""
    tasks = dict.fromkeys(args.tasks)
    found = []
    for seed in range(args.seeds):
        for task in tasks:
            run = args.out / task.rpartition(":")[2] / f"seed_{seed}"
            name = task if task in ENVS or ":" in task else f"{PLAYGROUND}{task}"
            own = (f"env.name={name}", f"train.seed={seed}", f"run.dir={run}")
            found.append(Job(task, seed, run, (args.config, *args.overrides, *own)))
    return found


def dm_control() -> Sequence[str]:
    """Playground's DM Control tasks by name."""
    if importlib.util.find_spec("mujoco_playground") is None:
        raise ConfigError("--tasks: MuJoCo Playground is not installed; pip install 'sacbrax[playground]'")
    from sacbrax.engines.upstream import quiet

    with quiet():
        from mujoco_playground import dm_control_suite

    return dm_control_suite.ALL_ENVS


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Train what is not finished; suite.csv, suite.md and suite.png are written anew after every run."""
    args.out.mkdir(parents=True, exist_ok=True)
    errors: dict[Path, str] = {}
    with lock(args.out, "--out"):
        for number, job in enumerate(args.jobs, start=1):
            if not finished(job, args.seconds):
                print(f"{number} of {len(args.jobs)}: {job.task}, seed {job.seed}", file=sys.stderr)
                if error := train(job, args.seconds):
                    errors[job.run] = error
                    print(f"{job.task}: {error}", file=sys.stderr)
            result = suite_results.collect([(j.task, j.run) for j in args.jobs], errors, args.seconds)
            suite_results.write(args.out, result)
    return result


def finished(job: Job, seconds: float) -> bool:
    """Whether a run has had so much time, or came to its end. Raises ConfigError where it was made otherwise."""
    done = _read(job.run / DONE)
    if done is not None and done["words"] != list(job.words):
        raise ConfigError(f"--out: {job.run} was trained by: {' '.join(done['words'])}; choose another folder")
    return done is not None and (done["whole"] or done["seconds"] >= seconds)


def train(job: Job, seconds: float) -> str | None:
    """Let a run go on until it has had its time; what went wrong, if something did."""
    summary = _read(job.run / "summary.json") or {"wall_seconds": 0.0}
    command = [sys.executable, "-m", "sacbrax.train", *job.words, "--quiet"]
    with Interrupt(raises=True):  # on whose way out the run is ended, saved
        process = subprocess.Popen(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        try:
            _, said = process.communicate(timeout=max(0.0, seconds - summary["wall_seconds"]))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.communicate()
            raise
    if process.returncode not in (0, *ENDED):
        return last_line(said, f"exit status {process.returncode}")
    if not (job.run / "config.yaml").is_file():
        return f"nothing was trained within {seconds:g} s"
    done = {"words": list(job.words), "seconds": seconds, "whole": process.returncode == 0}
    write_atomically(job.run / DONE, json.dumps(done) + "\n")
    return None


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def print_table(result: dict[str, Any]) -> None:
    """The result for people."""
    print(suite_results.text(result), end="")
