"""Write a policy for other programs: `python -m sacbrax.export RUN --out policy.onnx`.

Before the file appears, onnxruntime runs it beside the policy in JAX; both must agree to 1e-6 of the policy's range.
"""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax.cli import Parser, guarded, leave, prepare_jax
from sacbrax.config import Config, ConfigError, from_mapping
from sacbrax.core.errors import RunError
from sacbrax.policy_file.files import find, load_policy, parameters
from sacbrax.policy_file.numpy_policy import NumpyPolicy

TOLERANCE = 1e-6  # before `policy.action_gain`, which multiplies the rounding of float32 as well
CHECKED = 1000  # observations
NEAR_TIE = 1e-4  # relative difference of Q below which either of two candidates may be chosen


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.export",
        description="Write a policy with its normalizer, squashing and gain as one ONNX model, checked against JAX; or "
        "as the .npz that sacbrax/policy_file/numpy_policy.py runs with NumPy alone.",
        epilog="example: python -m sacbrax.export swimmer --out policy.onnx",
    )
    parser.add_argument("run", metavar="RUN", help="run directory, policy file or name of a pretrained policy")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write, .onnx or .npz")
    args = parser.parse_args(argv)
    if args.out.suffix not in (".onnx", ".npz"):
        parser.error(f"--out: {args.out} must end in .onnx or .npz")
    return args


def export_onnx(policy: NumpyPolicy, out: Path) -> float:
    """Write the model; returns the largest difference from JAX. Raises RunError, and writes nothing, where it is above
    `TOLERANCE` times the action gain, or 1."""
    try:
        import onnxruntime

        from sacbrax.policy_file import onnx_policy
    except ImportError:
        raise ConfigError("export: onnx is not installed; pip install 'sacbrax[export]'") from None
    content = onnx_policy.build(policy).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    observation = _observations(policy)
    action = session.run(["action"], {"observation": observation})[0]
    expected, clear = _jax_policy(policy)(observation)
    difference = float(np.abs(action - expected)[clear].max(initial=0.0))
    limit = TOLERANCE * max(1.0, _config(policy).policy.action_gain)
    if not difference <= limit:
        raise RunError(f"the model differs from the policy in JAX by {difference:.1e}, more than {limit:.0e}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(content)
    return difference


def _observations(policy: NumpyPolicy) -> np.ndarray:
    """Observations [N, O] spread around those of training."""
    size = policy.input_size
    noise = np.random.default_rng(0).normal(size=(CHECKED, size))
    if policy.header["normalize_observations"]:
        noise = noise / policy.arrays["observation_scale"][:size] + policy.arrays["observation_mean"][:size]
    return noise.astype(np.float32)


def _jax_policy(policy: NumpyPolicy) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """observation -> the action by the networks of training, and where no other candidate's Q is as good."""
    import jax
    import jax.numpy as jnp

    from sacbrax.agents.networks import Critics
    from sacbrax.agents.policies import make_policy

    config, size = _config(policy), policy.action_size
    networks = make_policy(config, size, policy.header.get("actor_observation_size"))
    observation, action = jnp.zeros((1, policy.observation_size)), jnp.zeros((1, size))
    members = len(policy.arrays["critic_kernel_0"]) if "critic_kernel_0" in policy.arrays else 1
    critics = Critics(config.network, members)
    template = {
        "actor": jax.eval_shape(networks.init, jax.random.key(0), observation),
        "critic": jax.eval_shape(critics.init, jax.random.key(0), observation, action),
    }
    params: Any = jax.tree.map(jnp.asarray, parameters(policy, template))
    mean, scale = (
        jnp.asarray(policy.arrays[f"observation_{name}"])[None, : policy.input_size] for name in ("mean", "scale")
    )

    @jax.jit
    def run(x: Any) -> tuple[Any, Any]:
        if config.network.normalize_observations:
            x = jnp.clip((x - mean) * scale, -10.0, 10.0)

        def q(x: Any, a: Any) -> Any:
            return jnp.min(critics(params["critic"], x, a), axis=0)

        a = networks.mode(params["actor"], x, q)
        u = networks.candidates(params["actor"], x)  # [N, C, A]
        clear = jnp.ones(len(x), bool)
        if u.shape[1] > 1:
            values = jax.vmap(q, in_axes=(None, 1), out_axes=1)(x, jnp.tanh(u) if config.policy.squash else u)
            second, first = jnp.sort(values, axis=1)[:, -2:].T
            clear = first - second > NEAR_TIE * (1.0 + jnp.abs(first))
        return jnp.clip(config.policy.action_gain * a, -1.0, 1.0), clear

    def call(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with jax.default_matmul_precision("highest"):
            a, clear = run(x)
        return np.asarray(a), np.asarray(clear)

    return call


def _config(policy: NumpyPolicy) -> Config:
    """As much of the configuration as the networks need."""
    header, arrays = policy.header, policy.arrays
    network = {
        "hidden_sizes": [arrays[f"kernel_{i}"].shape[-1] for i in range(header["num_layers"] - 1)],
        "activation": header["activation"],
        "actor_layer_norm": header["layer_norm"],
        "critic_layer_norm": header.get("critic_layer_norm", False),
        "normalize_observations": header["normalize_observations"],
    }
    return from_mapping({"policy": policy.options, "network": network})


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    policy = load_policy(args.run)
    try:
        if args.out.suffix == ".npz":
            args.out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(find(args.run), args.out)
            print(args.out)
        else:
            prepare_jax()
            difference = export_onnx(policy, args.out)
            print(f"{args.out}: within {difference:.1e} of JAX on {CHECKED:,} observations")
    except (OSError, shutil.SameFileError) as error:
        raise ConfigError(f"--out: cannot write {args.out}: {error}") from None
    return 0


if __name__ == "__main__":
    leave(main())
