"""The Q function over two action dimensions with sampled actions on it, from a policy file and NumPy alone.

A dot is an action the policy draws, the star its deterministic action; the dimensions not shown are the star's. One
panel for each observation, with Q's scale beside it; as a GIF, one frame for each light snapshot of a run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax.config import ConfigError
from sacbrax.policy_file.files import load_policy
from sacbrax.policy_file.numpy_policy import NumpyPolicy
from sacbrax.view.episode import play
from sacbrax.view.figures import load_matplotlib, save

USUAL = (0, 50, 200)  # steps of an episode
GRID = 61  # points along each action dimension
LEVELS = 15
DOT, STAR = "actions the policy draws", "its deterministic action"


def draw(
    source: str,
    out: Path,
    *,
    dims: Sequence[int] | None,
    observations: Path | None,
    steps: Sequence[int] | None,
    samples: int,
    seed: int,
    imports: bool,
) -> None:
    """Write the picture of a run or a policy file; `.gif` animates.

    dims: two action dimensions, or one; None chooses. observations: a file of them [N, O]; where there is none they are
    those of an episode's `steps`, by default of `USUAL` as far as it goes. samples: actions drawn for each.
    """
    plt = load_matplotlib()
    animated = out.suffix.lower() == ".gif"
    policies = [load_policy(path) for path in snapshots(source)] if animated else [load_policy(source)]
    dims = shown_dims(policies[0], dims)
    if observations is not None:
        shown = load_observations(observations, policies[0].observation_size)
        titles = [f"observation {i}" for i in range(len(shown))]
    else:
        shown, steps = visited_observations(policies[-1], steps, seed, imports=imports)
        titles = [f"step {step} of an episode" for step in steps]
    figure = plt.figure(figsize=(4.6 * len(titles), 4.4), layout="constrained")

    def frame(policy: NumpyPolicy) -> None:
        figure.clear()
        axes = figure.subplots(1, len(titles), squeeze=False)[0]
        rng = np.random.default_rng(seed)
        for axis, title, observation in zip(axes, titles, shown, strict=True):
            axis.set_title(title, fontsize="medium")
            draw_panel(axis, policy, observation, dims, samples, rng)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        trained = policy.header.get("env_steps")
        figure.suptitle(f"Q after {trained:,} env steps" if isinstance(trained, int) else "Q")

    if animated:
        from matplotlib.animation import FuncAnimation, PillowWriter

        animation = FuncAnimation(figure, lambda i: frame(policies[i]), frames=len(policies))
        save(out, lambda: animation.save(out, PillowWriter(fps=4)))
    else:
        frame(policies[0])
        save(out, lambda: figure.savefig(out, dpi=120))
    plt.close(figure)


def draw_panel(
    axis: Any, policy: NumpyPolicy, observation: np.ndarray, dims: Sequence[int], samples: int, rng: np.random.Generator
) -> None:
    """One observation [O]: level curves over two action dimensions with their scale, or one curve over the only one."""
    values = np.linspace(-1.0, 1.0, GRID, dtype=np.float32)
    star = policy(observation)
    drawn = policy.sample(np.tile(observation, (samples, 1)), rng)
    q = surface(policy, observation, star, dims, values)
    if len(dims) == 1:
        axis.plot(values, q)
        height = np.interp(drawn[:, dims[0]], values, q)
        axis.plot(drawn[:, dims[0]], height, "k.", markersize=3, alpha=0.5, label=DOT)
        axis.plot(star[dims[0]], np.interp(star[dims[0]], values, q), "r*", markersize=12, ls="", label=STAR)
        axis.set(xlabel=f"action {dims[0]}", ylabel="Q", xlim=(-1.05, 1.05))
        return
    filled = axis.contourf(values, values, q, LEVELS, cmap="viridis")
    axis.figure.colorbar(filled, ax=axis, label="Q", shrink=0.8)
    axis.contour(values, values, q, LEVELS, colors="white", linestyles="solid", linewidths=0.5, alpha=0.6)
    axis.plot(drawn[:, dims[0]], drawn[:, dims[1]], "k.", markersize=3, alpha=0.6, label=DOT)
    axis.plot(star[dims[0]], star[dims[1]], "r*", markersize=12, markeredgecolor="white", ls="", label=STAR)
    axis.set(xlabel=f"action {dims[0]}", ylabel=f"action {dims[1]}", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
    axis.set_aspect("equal")


def surface(
    policy: NumpyPolicy, observation: np.ndarray, action: np.ndarray, dims: Sequence[int], values: np.ndarray
) -> np.ndarray:
    """The smallest critic's Q over a grid: [G] of the one dimension, or [G, G] with dims[1] along the rows."""
    mesh = np.meshgrid(*[values] * len(dims), indexing="xy")
    actions = np.tile(action, (mesh[0].size, 1))
    for dim, coordinate in zip(dims, mesh, strict=True):
        actions[:, dim] = coordinate.ravel()
    q = policy.q(np.tile(observation, (len(actions), 1)), actions).min(axis=0)
    return q.reshape(mesh[0].shape)


def snapshots(run: str) -> list[Path]:
    """The light snapshots of a run, oldest first. Raises ConfigError when it keeps none."""
    found = sorted((Path(run) / "checkpoints").glob("snapshot_*.npz"), key=lambda file: (len(file.name), file.name))
    if not found:
        raise ConfigError(f"--out: {run} has no snapshots to animate; train with checkpoint.snapshots=true")
    return found


def shown_dims(policy: NumpyPolicy, asked: Sequence[int] | None) -> list[int]:
    """The action dimensions to show: those asked for, else the first two, or the only one."""
    size = policy.action_size
    dims = list(range(min(2, size))) if asked is None else list(asked)
    if any(not 0 <= dim < size for dim in dims) or len(set(dims)) != len(dims):
        raise ConfigError(f"--dims: two different ones of 0 to {size - 1}, got {' '.join(map(str, dims))}")
    return dims


def load_observations(path: Path, size: int) -> np.ndarray:
    """Observations [N, O] from a .npy file. Raises ConfigError where it has none of this size O."""
    try:
        observations = np.atleast_2d(np.load(path, allow_pickle=False)).astype(np.float32, casting="same_kind")
    except (OSError, ValueError, AttributeError, TypeError):
        raise ConfigError(f"--observations: {path} is no .npy file of numbers") from None
    if observations.shape[1:] != (size,) or not len(observations) or not np.isfinite(observations).all():
        shape = ", ".join(map(str, observations.shape))
        raise ConfigError(f"--observations: {path} has shape [{shape}]; choose finite numbers of shape [N, {size}]")
    return observations


def visited_observations(
    policy: NumpyPolicy, steps: Sequence[int] | None, seed: int, *, imports: bool = False
) -> tuple[np.ndarray, list[int]]:
    """What the policy sees at some steps of an episode of its own, [len(steps), O], and these steps; `imports` as in
    `task`."""
    episode = play(policy, seed=seed, steps=max(1, *(USUAL if steps is None else steps)), imports=imports)
    length = len(episode.reward)
    if steps is None:
        steps = [step for step in USUAL if step <= length]
    if max(steps) > length:
        raise ConfigError(f"--steps: this episode has {length} steps, got {max(steps)}")
    return episode.observation[list(steps)], list(steps)
