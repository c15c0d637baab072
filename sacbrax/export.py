"""Write a policy for other programs: `python -m sacbrax.export RUN --out policy.onnx`.

Before the file appears, onnxruntime runs it beside the networks of training in JAX, both in float32. They must agree
with the policy in float64 as nearly as the rounding of this policy allows.
"""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from sacbrax.cli import Parser, guarded, leave, prepare_jax
from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError, one_line
from sacbrax.core.files import write_atomically
from sacbrax.policy_file.about import about
from sacbrax.policy_file.files import PRETRAINED, find, load_policy, network_config, parameters
from sacbrax.policy_file.numpy_policy import LIMIT, NumpyPolicy

MARGIN = 20.0  # times the rounding that NumPy shows: other libraries add up and approximate tanh in other ways
CHECKED = 1000  # observations


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
    parser.add_argument(
        "--license",
        metavar="ID",
        help="of the policy, for the metadata of .onnx, such as CC-BY-4.0 (default: not stated)",
    )
    parser.add_argument("--import", action="store_true", dest="imports", help="import the class that the run names")
    args = parser.parse_args(argv)
    if args.out.suffix not in (".onnx", ".npz"):
        parser.error(f"--out: {args.out} must end in .onnx or .npz")
    return args


def export_onnx(policy: NumpyPolicy, out: Path, about: Mapping[str, Any] = MappingProxyType({})) -> float:
    """Write the model with the metadata `about`; returns the largest difference from JAX. Raises RunError, and writes
    nothing, where either is farther from the policy in float64 than rounding explains."""
    try:
        import onnxruntime

        from sacbrax.policy_file import onnx_policy
    except ImportError:
        raise ConfigError("export: onnx is not installed; pip install 'sacbrax[export]'") from None
    content = onnx_policy.build(policy, about).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    observation = _observations(policy)
    exact, clear, rounding = _exact(policy, observation)
    model = session.run(["action"], {"observation": observation})[0][clear]
    trained = _jax_policy(policy)(observation)[clear]
    for what, action in (("the model", model), ("the policy in JAX", trained)):
        difference = float(np.abs(action - exact).max(initial=0.0))
        if not difference <= MARGIN * rounding:
            raise RunError(
                f"{what} differs from the policy in float64 by {difference:.1e}, float32's rounding is {rounding:.1e}"
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, content)
    return float(np.abs(model - trained).max(initial=0.0))


def _exact(policy: NumpyPolicy, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Actions [M, A] in float64 of those observations [N, O], [N] bool, whose best candidate rounding cannot change;
    and the largest rounding of an action in float32."""
    double = NumpyPolicy(policy.header, {name: array.astype(np.float64) for name, array in policy.arrays.items()})
    clear = np.ones(len(observation), bool)
    if policy.chooses:
        q, rounded = double.candidate_values(observation), policy.candidate_values(observation)  # [C, N]
        second, first = np.sort(q, axis=0)[-2:]
        clear = first - second > MARGIN * np.abs(q - rounded).max()
    exact, rounded = double(observation)[clear], policy(observation)[clear]
    smallest = float(np.finfo(np.float32).eps)  # of an action of 1
    return exact, clear, max(smallest, float(np.abs(exact - rounded).max(initial=0.0)))


def _observations(policy: NumpyPolicy) -> np.ndarray:
    """Observations [N, O] spread around those of training."""
    size = policy.input_size
    noise = np.random.default_rng(0).normal(size=(CHECKED, size))
    if policy.header["normalize_observations"]:
        noise = noise / policy.arrays["observation_scale"][:size] + policy.arrays["observation_mean"][:size]
    return noise.astype(np.float32)


def _jax_policy(policy: NumpyPolicy) -> Callable[[np.ndarray], np.ndarray]:
    """observation [N, O] -> action [N, A] by the networks of training, as they are evaluated."""
    import jax
    import jax.numpy as jnp

    from sacbrax.agents.critics import make_critics
    from sacbrax.agents.policies import make_policy
    from sacbrax.envs.action_gain import amplified

    config, size = network_config(policy), policy.action_size
    networks = make_policy(config, size, policy.header.get("actor_observation_size"))
    observation, action = jnp.zeros((1, policy.observation_size)), jnp.zeros((1, size))
    members = len(policy.arrays["critic_kernel_0"]) if "critic_kernel_0" in policy.arrays else 1
    critics = make_critics(config, members)
    template = {
        "actor": jax.eval_shape(networks.init, jax.random.key(0), observation),
        "critic": jax.eval_shape(critics.init, jax.random.key(0), observation, action),
    }
    params: Any = jax.tree.map(jnp.asarray, parameters(policy, template))
    mean, scale = (
        jnp.asarray(policy.arrays[f"observation_{name}"])[None, : policy.input_size] for name in ("mean", "scale")
    )

    @jax.jit
    def run(x: Any) -> Any:
        if config.network.normalize_observations:
            x = jnp.clip((x - mean) * scale, -LIMIT, LIMIT)

        def q(x: Any, a: Any) -> Any:
            return jnp.min(critics(params["critic"], x, a), axis=0)

        action = jnp.clip(networks.mode(params["actor"], x, q), -1.0, 1.0)
        return amplified(action, config.policy.action_gain)

    def call(x: np.ndarray) -> np.ndarray:
        with jax.default_matmul_precision("highest"):
            return np.asarray(run(x))

    return call


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    policy = load_policy(args.run)
    try:
        if args.out.suffix == ".npz":
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(args.out, find(args.run).read_bytes())
            print(args.out)
        else:
            prepare_jax()
            theirs = "MIT" if find(args.run).parent == PRETRAINED else None  # the package's
            facts = about(policy, args.license or theirs, imports=args.imports)
            difference = export_onnx(policy, args.out, facts)
            print(f"{args.out}: within {difference:.1e} of JAX in float32 on {CHECKED:,} observations")
    except OSError as error:
        raise ConfigError(f"--out: cannot write {args.out}: {one_line(error)}") from None
    return 0


if __name__ == "__main__":
    leave(main())
