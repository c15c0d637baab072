"""What every driver measures with: one clock that stands still during evaluations, marks of progress, one JSON line.

A chunk is `chunk` gradient steps. The clock starts when the peer's packages are imported, so it holds what is built and
compiled for training, and the random steps before the first update. Needs the standard library alone.
"""

import importlib.metadata
import itertools
import json
import os
import resource
import statistics
import sys
import threading
import time
from typing import Any

PACKAGES = (
    "sacbrax", "brax", "rejax", "sbx-rl", "stable-baselines3", "jax", "flax", "torch", "mujoco", "gymnasium", "numpy",
)  # fmt: skip


class Recorder:
    """`job` has the settings all peers share: num_envs, updates, batch_size, hidden, learning_rate, gamma, tau,
    capacity, exploration, chunk, evaluate_every (chunks), episodes, goals, cap (s after the first chunk), seed."""

    def __init__(self) -> None:
        self.job: dict[str, Any] = json.loads(sys.argv[1])
        self.goals: list[float] = self.job["goals"]
        self.marks: list[tuple[float, int, int]] = []  # seconds, env steps, gradient steps at the end of a chunk
        self.returns: list[tuple[float, float]] = []
        self._start, self._outside = time.perf_counter(), 0.0
        threading.Thread(target=_end_with_the_benchmark, daemon=True).start()

    @property
    def vector_steps(self) -> int:
        """Steps of every environment in a chunk."""
        return int(self.job["chunk"] // self.job["updates"])

    def clock(self) -> float:
        """Seconds of building, compiling and training so far."""
        return time.perf_counter() - self._start - self._outside

    def mark(self, env_steps: int, gradient_steps: int, outside: float | None = None) -> None:
        """A chunk has ended; `outside` is the evaluation time so far of a peer that evaluates by itself."""
        if outside is not None:
            self._outside = outside
        self.marks.append((self.clock(), env_steps, gradient_steps))

    def evaluation_due(self) -> bool:
        """Whether this chunk is one after which to evaluate."""
        return len(self.marks) % int(self.job["evaluate_every"]) == 0

    def evaluate(self, episodes_mean: Any) -> None:
        """Have `episodes_mean()` give the mean return of deterministic episodes, off the clock."""
        now, begin = self.clock(), time.perf_counter()
        self.returns.append((now, float(episodes_mean())))
        self._outside += time.perf_counter() - begin

    def done(self) -> bool:
        """The time after the first chunk is up, or nothing is left to reach."""
        best = max((value for _, value in self.returns), default=float("-inf"))
        if len(self.marks) < 3:  # two windows are the least to tell a rate
            return False
        return self.clock() - self.marks[0][0] >= self.job["cap"] or best >= max(self.goals)

    def finish(self) -> None:
        """Print the line."""
        windows = [(b[0] - a[0], b[1] - a[1], b[2] - a[2]) for a, b in itertools.pairwise(self.marks)]
        setup = self.marks[0][0] - statistics.median(w[0] for w in windows) if windows else None
        reached = {
            f"{goal:g}": next((round(t, 2) for t, value in self.returns if value >= goal), None) for goal in self.goals
        }
        unit = 1 if sys.platform == "darwin" else 1024
        result = {
            "env_steps_per_second": [steps / seconds for seconds, steps, _ in windows],
            "gradient_steps_per_second": [steps / seconds for seconds, _, steps in windows],
            "setup_seconds": setup,
            "train_seconds": self.clock(),
            "gradient_steps": self.marks[-1][2] if self.marks else 0,
            "env_steps": self.marks[-1][1] if self.marks else 0,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            "seconds_to_return": reached,
            "best_return": max((value for _, value in self.returns), default=None),
            "returns": self.returns,
            "versions": _versions(),
        }
        print(json.dumps(result), flush=True)


def _end_with_the_benchmark() -> None:
    """Standard input ends when the benchmark does, even by a signal that nobody can catch."""
    while os.read(0, 1024):
        pass
    os._exit(1)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
