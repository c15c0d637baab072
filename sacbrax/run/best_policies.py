"""Which policies a run keeps: the best so far, of the run and of each of several seeds, and others if wanted.

They are light policy files (networks and normalizer). Knows no training: returns and arrays are given to it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sacbrax.core.numbers import plain_number
from sacbrax.parallel import processes
from sacbrax.policy_file import files as policy_files
from sacbrax.run.progress import Progress
from sacbrax.sinks.console import Reporter
from sacbrax.training.population import Population


class BestPolicies:
    """Writes the policies of one run below `directory`, each seed's own in its folder there."""

    def __init__(self, population: Population, directory: Path, reporter: Reporter):
        self._population, self._directory, self._reporter = population, directory, reporter

    def keep(
        self, progress: Progress, returns: np.ndarray, networks: Callable[[], tuple[Any, Any]], also_now: bool
    ) -> Path:
        """Keep what the evaluation in the last row of `progress` is worth keeping for, and note the best returns there.

        returns: mean of each seed, [S]. networks: parameters and normalizer on the host, fetched only if needed.
        also_now: this evaluation's policy in any case. Returns the path of that one, whether written or not.
        """
        size, row = self._population.size, progress.rows[-1]
        returns = np.where(np.isfinite(returns), returns, -np.inf)
        best = int(np.argmax(returns))
        kept = {"": (best, progress.best_return)}  # folder: whose policies, and the return to beat
        if size > 1:
            progress.best_by_seed = progress.best_by_seed or [-np.inf] * size
            kept |= {policy_files.SEED.format(i): (i, progress.best_by_seed[i]) for i in range(size)}
        snapshot = policy_files.SNAPSHOT.format(row["env_steps"])
        snapshots = [snapshot] if also_now or self._population.config.checkpoint.snapshots else []
        better = {}
        for folder, (i, before) in kept.items():
            missing = not (self._directory / folder / policy_files.BEST).exists()  # new, or somebody removed it
            # To fetch networks is for all processes, so what the first one's disk says is said to all.
            better[folder] = bool(processes.agree(bool(returns[i] > (-np.inf if missing else before))))
        if not snapshots and not any(better.values()):
            return self._directory / snapshot
        params, normalizer = networks()
        for folder, (i, _) in kept.items():
            own, scale = jax.tree.map(lambda x, i=i: x[i] if size > 1 else x, (params, normalizer))
            note = {"seed": self._population.seeds[i], "eval/return_mean": plain_number(float(returns[i]))}
            note |= {key: row[key] for key in ("env_steps", "gradient_steps")}
            with self._reporter.tolerate("a policy"):
                for name in [*snapshots, policy_files.BEST] if better[folder] else snapshots:
                    self._save(self._directory / folder / name, own, scale, note)
                if better[folder] and folder:
                    progress.best_by_seed[i] = float(returns[i])
                elif better[folder]:
                    progress.best_return = float(returns[i])
        return self._directory / snapshot

    def _save(self, path: Path, params: dict[str, Any], normalizer: Any, note: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        trainer = self._population.trainer
        others = {key: value for key, value in params.items() if key != "actor"}
        sizes = (trainer.observation_size, trainer.action_size)
        if trainer.actor_inputs is not None:
            note = note | {"actor_observation_size": trainer.actor_inputs}
        policy_files.save(path, self._population.config, params["actor"], normalizer, sizes, note, others)
