"""What is computed and stored in how many bits: read from the traced programs, and from what comes back."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from resumable import arrays, assert_same_run, train
from test_trainer import equations

from sacbrax.agents.critics import make_critics
from sacbrax.agents.policies import make_policy
from sacbrax.config import Config, NetworkConfig
from sacbrax.core.types import Transition
from sacbrax.envs import vector_env
from sacbrax.policy_file import files as policy_files
from sacbrax.training import replay
from sacbrax.training.trainer import Trainer

Tiny = Callable[..., Config]
OBSERVATION = jnp.linspace(-1, 1, 15).reshape(5, 3)
ACTION = jnp.linspace(1, -1, 10).reshape(5, 2)


def products(function: Callable, *args: Any) -> list[Any]:
    """The matrix products of a traced function: dtype of the first factor, and precision."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return [
        (equation.invars[0].aval.dtype.name, str(equation.params["precision"]))
        for equation in equations(jaxpr)
        if equation.primitive.name == "dot_general"
    ]


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer norm": {"critic_layer_norm": True},
    "weight norm": {"critic_weight_norm": True},
    "batch norm": {"critic_batch_norm": "batch"},
    "simba": {"critic_block": "simba"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_for_hidden_layers_only(kind: str) -> None:
    q, params = {}, None
    for dtype in ("float32", "bfloat16"):
        network = NetworkConfig(hidden_sizes=(8, 8), dtype=dtype, **KINDS[kind])
        critics = make_critics(Config(network=network), 2)
        params = params or critics.init(jax.random.key(0), OBSERVATION, ACTION)
        q[dtype] = critics(params, OBSERVATION, ACTION)
        factors = [kind for kind, _ in products(critics, params, OBSERVATION, ACTION)]
        assert factors == [dtype] * (5 if kind == "simba" else 2) + ["float32"]
        grads = jax.grad(lambda p, critics=critics: jnp.sum(critics(p, OBSERVATION, ACTION)))(params)
        assert {leaf.dtype.name for leaf in jax.tree.leaves((params, grads, q[dtype]))} == {"float32"}
    apart = np.abs(np.asarray(q["float32"] - q["bfloat16"])).max()
    assert 1e-5 < apart < 0.05


@pytest.mark.parametrize("kind", ["gaussian", "gmm", "latent"])
@pytest.mark.parametrize(("name", "expected"), [("default", "None"), ("high", "HIGH,"), ("highest", "HIGHEST,")])
def test_matmul_precision_reaches_every_network(tiny: Tiny, kind: str, name: str, expected: str) -> None:
    policy = make_policy(tiny(f"policy.kind={kind}", f"network.matmul_precision={name}"), 2)
    params = jax.eval_shape(policy.init, jax.random.key(0), OBSERVATION)
    found = products(policy.sample, params, OBSERVATION, jax.random.key(0))
    assert len(found) >= 2
    assert all(expected in f"{precision},".replace("Precision.", "").replace(")", ",") for _, precision in found), found


def test_physics_and_statistics_have_the_highest_precision(tiny: Tiny) -> None:
    """Whatever the networks and the process have: here an environment that multiplies matrices."""

    class Products(Trainer):
        def __init__(self, config: Config):
            super().__init__(config)
            step = self.env.step

            def multiply(state: Any, action: Any) -> Any:
                after = step(state, action)
                return after.replace(obs=jnp.eye(2) @ after.obs)

            self.env.step = multiply

    trainer = Products(tiny())
    state, hyper = jax.eval_shape(trainer.init, jax.random.key(0), trainer.hyper()), trainer.hyper()
    with jax.default_matmul_precision("bfloat16"):
        found = products(trainer.prefill, state, hyper)
        evaluated = products(
            lambda key: vector_env.evaluate(trainer.env, lambda obs, _: jnp.zeros((3, 2)), key, 3, 4), jax.random.key(0)
        )
    assert len(found) == 4, "the environment, and the normalizer's mean, reward and variance"
    assert len(evaluated) == 1
    assert all("HIGHEST" in precision for _, precision in found + evaluated)


@pytest.mark.parametrize(
    ("kind", "deterministic"), [("gaussian", True), ("gmm", True), ("latent", True), ("gaussian", False)]
)
def test_what_is_evaluated_is_what_is_kept(tiny: Tiny, tmp_path: Path, kind: str, deterministic: bool) -> None:
    """The return of bfloat16's agent is that of the same parameters in float32, which the policy file runs in NumPy."""
    options = ["env.name=probes:Mirror", f"policy.kind={kind}", "eval.episodes=200", "network.hidden_sizes=[32,32]"]
    options += [f"eval.deterministic={str(deterministic).lower()}", "policy.candidates=4"]
    found, key = {}, jax.random.key(1)
    for dtype in ("float32", "bfloat16"):
        trainer = Trainer(tiny(*options, f"network.dtype={dtype}"))
        state = trainer.init(jax.random.key(0), trainer.hyper())
        assert {kind for kind, _ in products(trainer.agent.act, state.agent, OBSERVATION[:, :2], key)} >= {dtype}
        found[dtype] = np.asarray(jax.jit(trainer.evaluate)(state, key)["return"])
        evaluated = products(trainer.evaluate, state, key)
        assert all(kind == "float32" and "HIGHEST" in precision for kind, precision in evaluated)
    np.testing.assert_array_equal(found["bfloat16"], found["float32"])
    groups = dict(state.agent.params)
    path, sizes = tmp_path / "policy.npz", (trainer.observation_size, trainer.action_size)
    policy_files.save(path, trainer.config, groups.pop("actor"), state.normalizer, sizes, {}, groups)
    policy = policy_files.load_policy(path)
    assert policy.header["dtype"] == "bfloat16"
    if deterministic:  # with a start as in `vector_env.evaluate`
        starts = jax.vmap(trainer.env.reset)(jax.random.split(jax.random.split(jax.random.fold_in(key, 0))[0], 200))
        seen = np.asarray(starts.obs)
        expected = np.sign(seen[:, 0]) * policy(seen)[:, 0]
        np.testing.assert_allclose(found["bfloat16"], expected, atol=2e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_replay_in_16_bits_keeps_ends_exact_and_rounds_the_rest(dtype: str) -> None:
    ring = replay.init(8, 4, 3, 2, jnp.dtype(dtype))
    discount = jnp.array([1.0, 0.0, 1.0, 1.0])
    reward = jnp.array([1.0, 3.14159265, 1e6, -1e6])
    transition = Transition(OBSERVATION[:4], ACTION[:4], reward, discount, OBSERVATION[1:5])
    ring = replay.insert(ring, transition, jnp.array([True, False, True, False]), jnp.ones(4, bool))
    assert ring.size.dtype == jnp.int32
    batch = replay.sample(ring, jax.random.key(0), 64, 1, jnp.float32(0.5), jnp.float32(0.0))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(batch)} == {"float32"}
    assert set(np.asarray(batch.discount)) == {0.0, 0.5}
    large = 65504.0 if dtype == "float16" else 999424.0
    rounded = float(jnp.asarray(3.14159265, dtype))
    assert rounded != np.float32(3.14159265)
    assert set(np.asarray(batch.reward)) == {1.0, rounded, large, -large}
    for row in np.asarray(batch.observation):
        assert np.abs(np.asarray(OBSERVATION[:4]) - row).max(axis=1).min() < 2**-8


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_no_step_touches_the_whole_ring(dtype: str) -> None:
    """The compiled loop writes rows where they lie: nothing but the write itself has the ring's shape."""
    ring = replay.init(1024, 4, 3, 2, jnp.dtype(dtype))
    step = Transition(OBSERVATION[:4], ACTION[:4], jnp.ones(4), jnp.ones(4), OBSERVATION[1:5])

    def loop(ring: replay.ReplayState, count: int) -> Any:
        def body(i: Any, carry: Any) -> Any:
            ring = replay.insert(carry[0], step, jnp.zeros(4, bool), jnp.ones(4, bool))
            key = jax.random.fold_in(jax.random.key(0), i)
            return ring, replay.sample(ring, key, 8, 3, jnp.float32(0.9), jnp.float32(0.0)).reward

        return jax.lax.fori_loop(0, count, body, (ring, jnp.zeros(8)))

    text = jax.jit(loop, donate_argnums=0).lower(ring, 1).compile().as_text()
    whole = re.findall(r" = \w+\[1024,11\]\S* ([\w-]+)\(", text)
    assert set(whole) <= {"parameter", "get-tuple-element", "bitcast", "fusion", "dynamic-update-slice"}
    assert whole.count("dynamic-update-slice") == 1


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_a_run_in_16_bits_resumes_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    bits = (f"replay.dtype={dtype}", "network.dtype=bfloat16", "train.total_env_steps=280")
    train(tmp_path / "whole", *bits)
    train(tmp_path / "halves", *bits, "train.total_env_steps=120")
    train(tmp_path / "halves", *bits)
    assert_same_run(tmp_path / "whole", tmp_path / "halves")
    assert arrays(tmp_path / "whole")["state/replay/rows"].dtype.name == {"bfloat16": "uint16"}.get(dtype, dtype)
