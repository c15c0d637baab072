"""A batch's arithmetic written out as rows, and as one kernel: of made-up functions and of the fused engines."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_config import make_tiny

from sacbrax.core.errors import ConfigError
from sacbrax.engines import batched
from sacbrax.envs import make_env
from sacbrax.training.plan import Plan
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer
from sacbrax.xla.one_kernel import one_kernel

ON_GPU = jax.default_backend() == "gpu"
WEIGHTS = np.array([0.5, -1.0, 2.0, 0.25], np.float32)


def shapes(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
    """[N, 4] and [N, 2], entries moved about in all ways that an engine has."""
    rows = x.T * WEIGHTS[:, None]  # [4, N]
    chosen = rows[np.array([2, 0, 3])]
    wide = jnp.concatenate([chosen, jnp.pad(y.T, ((1, 0), (0, 0)), constant_values=3.0)])  # [6, N]
    square = wide.reshape(2, 3, -1).transpose(1, 0, 2)
    low, high = square.min(axis=(0, 1)), square.max(axis=0)[1]
    return jnp.stack([square.sum(axis=1)[1], low, high, jnp.where(y[:, 0] > 0, rows[1], -jnp.abs(rows[1]))], axis=1), y


def loops(x: jax.Array) -> tuple[jax.Array, ...]:
    """[N, 2]: rounds until all lanes are done, rounds of a number, an entry at a place that is computed."""

    def halve(now: Any) -> Any:
        k, _, y = now
        y = jnp.where(y > 1, 0.5 * y, y)
        return k + 1, (y > 1).any(), y

    rounds, _, y = jax.lax.while_loop(lambda now: now[1] & (now[0] < 7), halve, (jnp.int32(0), True, x[:, 0]))
    z = jax.lax.fori_loop(0, 4, lambda k, z: z + jnp.asarray(WEIGHTS)[k] * x.T[k % 2], jnp.zeros_like(y))
    return (jnp.stack([y, z, jnp.full_like(y, 1.0) * rounds], axis=1),)


def as_kernel(f: Any, *arrays: np.ndarray) -> list[jax.Array]:
    return jax.jit(lambda *x: one_kernel(f, *x, interpret=not ON_GPU))(*map(jnp.asarray, arrays))


def numbers(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, size)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 32, 75])
def test_rows_are_moved_as_arrays_are(n: int) -> None:
    x, y = numbers(n, 4), numbers(n, 2, 1)
    for ours, expected in zip(as_kernel(shapes, x, y), shapes(x, jnp.asarray(y)), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_loops_end_with_the_lanes_of_a_block() -> None:
    x = numbers(64, 2)
    x[:, 0] = 0.0
    x[3, 0], x[40, 0] = 10.0, 1e9  # the first block's last lane needs four rounds; the second stops after seven
    (ours,) = as_kernel(loops, x)
    for block in range(2):
        own = slice(32 * block, 32 * block + 32)
        (expected,) = loops(jnp.asarray(x[own]))
        np.testing.assert_allclose(ours[own], expected, rtol=1e-6)
    assert ours[0, 2] == 4
    assert ours[63, 2] == 7


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(NotImplementedError, match="sort is not known to be written out as rows"):
        as_kernel(lambda x: (jnp.sort(x, axis=1),), numbers(4, 3))
    with pytest.raises(NotImplementedError, match="lanes are joined by `any` alone"):
        as_kernel(lambda x: (x + x.sum(),), numbers(4, 3))


SINGLE = {
    "slice": lambda x: x - x[:1],
    "dynamic_slice": lambda x: x - jax.lax.dynamic_slice_in_dim(x, jnp.int32(1), 1),
    "gather": lambda x: x[x[:, 0].astype(int)],
    "concatenate": lambda x: jnp.concatenate([x, x]),
    "reshape": lambda x: x.reshape(-1, 1),
}


@pytest.mark.parametrize("name", SINGLE)
def test_an_environment_does_not_see_another(name: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"^{name} of single lanes is not known"):
        as_kernel(lambda x: (SINGLE[name](x),), numbers(4, 3))


TASKS = ["inverted_pendulum_v5", *(pytest.param(x, marks=pytest.mark.slow) for x in ("swimmer", "hopper_v5", "ant_v5"))]


@pytest.mark.parametrize("task", TASKS)
def test_an_engine_as_one_kernel_steps_as_its_rows(task: str) -> None:
    """Within a step's rounding, from states 30 steps after a reset, where limits and contacts act. On a GPU too."""
    engine: Any = make_env(task, "fused").engine
    steps = engine if task == "swimmer" else engine._recalled
    model = make_env(task, "fused").model
    rng, n = np.random.default_rng(0), 33
    state = [np.tile(model.qpos0, (n, 1)), rng.normal(0, 0.1, (n, model.nv)), rng.uniform(-1, 1, (n, model.nu))]
    qpos, qvel, ctrl = (jnp.asarray(x, jnp.float32) for x in state)
    rows = jax.jit(lambda *x: batched.step_rows(steps, *x))
    for _ in range(30):
        qpos, qvel, *_ = rows(qpos, qvel, ctrl)
    ours = jax.jit(lambda *x: batched.step_kernel(steps, *x, interpret=not ON_GPU))(qpos, qvel, ctrl)
    for own, expected, start in zip(ours, rows(qpos, qvel, ctrl), (qpos, qvel, None), strict=False):
        assert start is None or np.abs(expected - start).max() > 1e-2  # it moves
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_only_a_gpu_that_triton_knows_gets_a_kernel() -> None:
    def programs(engine: str = "fused", **device: Any) -> Programs:
        stand_in: Any = SimpleNamespace(**device)
        config = make_tiny("run.gpu_kernel=true", "env.name=swimmer", f"env.engine={engine}")
        return Programs(Trainer(config), plan=Plan(devices=(stand_in,)))

    assert not programs(platform="cpu")._one_kernel
    assert programs(platform="gpu", compute_capability="9.0")._one_kernel
    assert programs(platform="gpu", compute_capability="12.0")._one_kernel
    for other in ("7.5", "gfx90a"):
        with pytest.raises(ConfigError, match=rf"^run\.gpu_kernel: for NVIDIA's .* capability 8\.0 on, not {other};"):
            programs(platform="gpu", compute_capability=other)
    assert not programs("mjx", platform="cpu")._one_kernel
    with pytest.raises(ConfigError, match=r"^run\.gpu_kernel: for env\.engine=fused, not mjx; set it to false$"):
        programs("mjx", platform="gpu", compute_capability="9.0")


def test_the_setting_reaches_the_engine() -> None:
    """Also where jit has the same function's trace without it: a vector step is traced once for several programs."""
    trainer = Trainer(make_tiny("run.gpu_kernel=true", "env.name=swimmer", "env.engine=fused"))
    found = []
    for capability in (None, "9.0", None):
        device: Any = SimpleNamespace(platform="gpu" if capability else "cpu", compute_capability=capability)
        programs = Programs(trainer, plan=Plan(devices=(device,)))
        state = jax.eval_shape(programs.init, *(jax.eval_shape(lambda p=programs: p.keys(0)[0]), trainer.hyper()))
        sums = jax.eval_shape(programs.zero_sums, state)
        prefill = programs.prefill.trace(state, trainer.hyper())
        for traced in (prefill, programs.advance.trace(state, sums, trainer.hyper(), 3)):
            text = str(traced.jaxpr)
            found.append((text.count("kernel=True"), text.count("kernel=False")))
    assert found == [(0, 1), (0, 1), (1, 0), (1, 0), (0, 1), (0, 1)]
