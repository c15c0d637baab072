"""What a controller must know of a policy to run it on a machine: the metadata of an ONNX file.

Knows no ONNX. The normalizer is inside the model; its numbers are here so that a machine's own observations can be
compared with those of training.
"""

from itertools import accumulate
from typing import Any

import numpy as np

from sacbrax.core.machine import versions
from sacbrax.policy_file.files import task
from sacbrax.policy_file.numpy_policy import LIMIT, NumpyPolicy, PolicyFileError


def about(policy: NumpyPolicy, license: str | None, *, imports: bool = False) -> dict[str, Any]:
    """By name: task, observation, action, control_dt [s], normalizer, training, versions, license.

    Raises PolicyFileError where the policy's task cannot be made, or has other sizes. `imports` allows the file to name
    a class outside the package.
    """
    from sacbrax.envs import mujoco_model
    from sacbrax.envs.wrappers import observation_parts

    env, config = task(policy, imports=imports)
    model, inner = mujoco_model(env), env.unwrapped
    size = env.action_size
    low, high, names = -np.ones(size), np.ones(size), [f"action_{i}" for i in range(size)]
    if model is not None and model.nu == size:
        names = [model.actuator(i).name or names[i] for i in range(size)]
        if hasattr(inner, "ctrl"):  # a task of ours, whose actions are its actuators' whole ranges
            low, high = model.actuator_ctrlrange.T
    parts = observation_parts(env)
    if (sum(parts.values()), size) != (policy.observation_size, policy.action_size):
        raise PolicyFileError(
            f"the policy's sizes, {policy.observation_size} and {policy.action_size}, are not those of {config.name} "
            f"here, {sum(parts.values())} and {size}"
        )
    dt = getattr(inner, "dt", None)
    kept = ("seed", "env_steps", "gradient_steps", "eval/return_mean")
    return {
        "task": {"name": config.name, "engine": env.backend, "options": config.kwargs, "links": config.links},
        "observation": _first(parts, policy.input_size),
        "action": {
            "names": names,
            "low": low.tolist(),
            "high": high.tolist(),
            "offset": ((high + low) / 2).tolist(),
            "scale": ((high - low) / 2).tolist(),
        },
        "control_dt": None if dt is None else float(dt) * config.action_repeat,
        "normalizer": _normalizer(policy),
        "training": {key: policy.header[key] for key in kept if key in policy.header},
        "versions": versions(),
        "license": license,
    }


def _first(parts: dict[str, int], size: int) -> dict[str, int]:
    """The parts that make up the first `size` numbers, which the policy is given; of the last one it may see less."""
    starts = accumulate(parts.values(), initial=0)
    each = zip(parts.items(), starts, strict=False)  # and one more start, the end
    return {name: min(part, size - start) for (name, part), start in each if start < size}


def _normalizer(policy: NumpyPolicy) -> dict[str, Any] | None:
    """Observations become (x - mean) * scale, clipped; None where there is none."""
    if not policy.header["normalize_observations"]:
        return None
    mean, scale = (policy.arrays[f"observation_{name}"][: policy.input_size] for name in ("mean", "scale"))
    return {"inside_the_model": True, "mean": mean.tolist(), "scale": scale.tolist(), "clip": LIMIT}
