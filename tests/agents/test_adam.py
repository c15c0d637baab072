"""Adam against optax's, a skipped step, and that no parameter is copied in the compiled loop."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_config import make_tiny

from sacbrax.agents import adam
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.bench import hlo, update

RATES = {"a": jnp.float32(1e-2), "b": jnp.float32(3e-4)}


def tree(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return {"a": {"w": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}, "b": jnp.float32(rng.normal())}


def assert_trees(compare, got, want) -> None:
    jax.tree.map(compare, got, want)


def test_five_steps_equal_optax() -> None:
    params = want = tree(0)
    state, theirs = adam.init(params), optax.scale_by_adam()
    their_state = theirs.init(params)
    for i in range(5):
        params, state = adam.step(params, tree(i + 1), state, RATES, jnp.array(True))
        directions, their_state = theirs.update(tree(i + 1), their_state)
        want = {k: jax.tree.map(lambda p, d, k=k: p - RATES[k] * d, want[k], directions[k]) for k in want}
    close = lambda got, want: np.testing.assert_allclose(got, want, rtol=2e-5)  # noqa: E731
    assert_trees(close, (params, state), (want, their_state))
    assert state.count == 5


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_step_not_applied_changes_nothing(before: int, bad: float) -> None:
    params = tree(0)
    state = adam.init(params)
    for i in range(before):
        params, state = adam.step(params, tree(i + 1), state, RATES, jnp.array(True))
    grads = tree(9) | {"b": jnp.float32(bad)}
    after = adam.step(params, grads, state, RATES, jnp.array(False))
    assert_trees(np.testing.assert_array_equal, after, (params, state))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="counts what XLA's CPU compiler makes")
def test_the_update_moves_every_array_where_it_lies() -> None:
    """XLA once copied each parameter, moment and target in every update, 25 arrays of the size below."""
    config = make_tiny("network.hidden_sizes=[23,29]", "algorithm.name=sac_v2")
    agent, hyper = make_agent(config, 5, 3), make_hyper(config, 3)
    batch = update._random_batch(16, 5, 3)
    state = jax.eval_shape(agent.init, jax.random.key(0), hyper)

    def loop(state, count):
        body = lambda i, s: agent.update(s, batch, hyper, jax.random.fold_in(jax.random.key(0), i))[0]  # noqa: E731
        return jax.lax.fori_loop(0, count, body, state)

    text = jax.jit(loop, donate_argnums=0).lower(state, jnp.int32(1)).compile().as_text()
    assert len(re.findall(r" = f32\[(?:2,)?23,29\]\S* fusion\(", text)) > 3, "the shape is in the program"
    copies = re.findall(r" = f32\[(?:2,)?23,29\]\S* copy\(", text)
    assert len(copies) <= 1
    assert 50 < hlo.kernels_per_iteration(text) < 350


def test_kernels_are_counted_as_often_as_they_run() -> None:
    text = """HloModule m
%inner (p: (f32[2], s32[])) -> (f32[2], s32[]) {
  %p = (f32[2]{0}, s32[]) parameter(0)
  %x = f32[2]{0} get-tuple-element(%p), index=0
  %y = f32[2]{0} fusion(%x), kind=kLoop, calls=%f
  ROOT %t = (f32[2]{0}, s32[]) tuple(%y, %i)
}
%body (p: (f32[2], s32[])) -> (f32[2], s32[]) {
  %p = (f32[2]{0}, /*index=1*/s32[]) parameter(0)
  %w = (f32[2]{0}, s32[]) while(%p), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"5"}}
  %d = f32[2]{0} dot(%a, %b)
  %g = (f32[2]{0}, f32[4]{0}) custom-call(%a, %b), custom_call_target="gemm"
  %s = f32[2]{0} call(%a), to_apply=%inner
  ROOT %n = f32[2]{0} call(%a), to_apply=%inner, frontend_attributes={xla_cpu_small_call="true"}
}
ENTRY %main (p: f32[2]) -> f32[2] {
  %before = f32[2]{0} fusion(%p), kind=kLoop, calls=%f
  ROOT %w = (f32[2]{0}, s32[]) while(%p), condition=%c, body=%body
}
"""
    assert hlo.kernels_per_iteration(text) == 5 + 1 + 1 + 1 + 1
