"""Run a policy on a machine, from nothing but its ONNX file: observations in, commands for the actuators out.

    python -m sacbrax.export swimmer --out policy.onnx
    python examples/deploy_onnx.py policy.onnx < observations.jsonl > commands.jsonl

Needs NumPy and onnxruntime. Standard input has one observation a line, a JSON list or an object by the names in the
file's metadata; standard output gets one command a line. `Policy` is what another program would take over.
"""

import json
import sys
import time

import numpy as np
import onnxruntime


class Policy:
    """policy(observation) -> command in the actuators' own units; `about` is the file's metadata."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.about = {name: json.loads(text) for name, text in metadata.items()}
        if "action" not in self.about:
            raise ValueError(f"{path} says nothing of its task; export it again")
        self.parts, action = self.about["observation"], self.about["action"]
        self.scale, self.offset = np.array(action["scale"]), np.array(action["offset"])
        self.low, self.high = np.array(action["low"]), np.array(action["high"])

    def __call__(self, observation):
        action = self.session.run(["action"], {"observation": self.flat(observation)[None]})[0][0]
        return np.clip(self.offset + self.scale * action, self.low, self.high)

    def flat(self, observation):
        """One array of finite numbers, or ValueError: a machine must not move on a broken sensor."""
        if isinstance(observation, dict):
            if set(observation) != set(self.parts):
                raise ValueError(f"expected {', '.join(self.parts)}, got {', '.join(observation)}")
            observation = np.concatenate([np.ravel(observation[name]) for name in self.parts])
        observation = np.asarray(observation, np.float32)
        if observation.shape != (sum(self.parts.values()),) or not np.isfinite(observation).all():
            sizes = ", ".join(f"{name} [{size}]" for name, size in self.parts.items())
            raise ValueError(f"expected finite numbers: {sizes}")
        return observation

    def unusual(self, observation):
        """Whether a number is so far from those of training that the policy's normalizer clips it."""
        normalizer = self.about["normalizer"]
        if normalizer is None:
            return False
        scaled = (self.flat(observation) - normalizer["mean"]) * normalizer["scale"]
        return bool((np.abs(scaled) >= normalizer["clip"]).any())


def main(path):
    policy = Policy(path)
    action, dt = policy.about["action"], policy.about["control_dt"]
    print(f"task {policy.about['task']['name']}, a step takes {dt} s", file=sys.stderr)
    print("observation", *(f"{name}[{size}]" for name, size in policy.parts.items()), file=sys.stderr)
    for name, low, high in zip(action["names"], action["low"], action["high"], strict=True):
        print(f"command {name} from {low:g} to {high:g}", file=sys.stderr)
    for line in sys.stdin:
        start, observation = time.perf_counter(), json.loads(line)
        print(json.dumps(policy(observation).tolist()), flush=True)
        if policy.unusual(observation):
            print("unusual: an observation beyond what the policy was trained on", file=sys.stderr)
        if dt is not None and (took := time.perf_counter() - start) > dt:
            print(f"late: {took:.4f} s for a step of {dt} s", file=sys.stderr)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
