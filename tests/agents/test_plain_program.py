"""What plain SAC's program consists of, operation by operation: an option that is off leaves no trace in it.

Counted in the program that JAX hands to XLA, which is the same on every machine and differs between releases of JAX, so
the numbers hold for the pinned one. Who changes plain SAC on purpose writes the numbers that the failure shows.
"""

import re
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from tiny_config import make_tiny

from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import Config, from_mapping
from sacbrax.core.types import Transition
from sacbrax.training.trainer import Trainer

PINNED = "0.10.2"  # by constraints.txt
B, N, O, A = 8, 4, 3, 2
KEY = jax.random.key(0)
# Of an update, each operation; those that only name or shape things are in the totals below.
UPDATE = {
    "sac_v1": {
        "add": 159, "compare": 24, "concatenate": 3, "divide": 31, "dot_general": 33, "erf_inv": 1, "exponential": 3,
        "maximum": 6, "minimum": 3, "multiply": 165, "negate": 8, "power": 2, "reduce": 40, "select": 29, "slice": 10,
        "sqrt": 18, "subtract": 79, "tanh": 1, "transpose": 9, "while": 1, "xor": 7,
    },
    "sac_v2": {
        "add": 150, "compare": 24, "concatenate": 5, "divide": 25, "dot_general": 28, "erf_inv": 2, "exponential": 8,
        "maximum": 8, "minimum": 4, "multiply": 134, "negate": 11, "power": 2, "reduce": 34, "select": 28, "slice": 20,
        "sqrt": 13, "subtract": 73, "tanh": 2, "transpose": 6, "while": 2, "xor": 13,
    },
}  # fmt: skip
# Of each program, all operations.
TOTALS = {
    "sac_v1": {
        "init": 1486, "act": 155, "act_deterministic": 20, "diagnostics": 472, "update": 1357, "update on a GPU": 1444,
        "train_step": 2406,
    },
    "sac_v2": {
        "init": 1210, "act": 155, "act_deterministic": 20, "diagnostics": 638, "update": 1310, "update on a GPU": 1569,
        "train_step": 2351,
    },
}  # fmt: skip
LEAVES = {"sac_v1": 63, "sac_v2": 48}  # arrays of an agent's state
METRICS = {"critic_loss", "actor_loss", "entropy", "q_mean", "skipped_updates", "applied_updates"}
OWN_METRICS = {"sac_v1": {"value_loss"}, "sac_v2": {"temperature"}}

pytestmark = [
    pytest.mark.skipif(jax.__version__ != PINNED, reason=f"the numbers are those of jax {PINNED}, which is pinned"),
    pytest.mark.parametrize("name", UPDATE),
]


def operations(function: Any, *arguments: Any, platform: str = "cpu") -> Counter[str]:
    """How often each operation stands in a function's program for a platform, which need not be there."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    return Counter(re.findall(r"\b(?:stablehlo|chlo)\.(\w+)", text))


def plain(name: str) -> Config:
    """Everything at its default but the sizes."""
    return from_mapping({"algorithm": {"name": name}, "network": {"hidden_sizes": [8, 8]}, "train": {"batch_size": B}})


def numbers(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


BATCH = Transition(numbers(B, O), numbers(B, A), numbers(B), numbers(B), numbers(B, O))


def agent_of(name: str) -> tuple[Any, Any, Any]:
    agent, hyper = make_agent(plain(name), O, A), make_hyper(plain(name), A)
    return agent, jax.eval_shape(agent.init, KEY, hyper), hyper


def test_an_update_has_these_operations(name: str) -> None:
    agent, state, hyper = agent_of(name)
    found = operations(agent.update, state, BATCH, hyper, KEY)
    assert {kind: found[kind] for kind in UPDATE[name]} == UPDATE[name]


def test_each_program_has_so_many_operations(name: str) -> None:
    agent, state, hyper = agent_of(name)
    found = {
        "init": operations(agent.init, KEY, hyper),
        "act": operations(agent.act, state, numbers(N, O), KEY),
        "act_deterministic": operations(agent.act_deterministic, state, numbers(N, O)),
        "diagnostics": operations(agent.diagnostics, state, BATCH, hyper, KEY),
        "update": operations(agent.update, state, BATCH, hyper, KEY),
        "update on a GPU": operations(agent.update, state, BATCH, hyper, KEY, platform="cuda"),
    }
    trainer = Trainer(make_tiny(f"algorithm.name={name}"))
    whole = jax.eval_shape(trainer.init, KEY, trainer.hyper())
    found["train_step"] = operations(trainer.train_step, whole, trainer.hyper())
    assert {program: sum(counts.values()) for program, counts in found.items()} == TOTALS[name]


def test_the_state_and_the_metrics_are_these(name: str) -> None:
    agent, state, hyper = agent_of(name)
    _, sums = jax.eval_shape(agent.update, state, BATCH, hyper, KEY)
    assert len(jax.tree.leaves(state)) == LEAVES[name]
    assert set(sums.values) == METRICS | OWN_METRICS[name]


def test_an_option_that_is_on_shows(name: str) -> None:
    """The count can tell: layer norm alone moves it."""
    config = from_mapping({**plain(name).to_mapping(), "network": {"hidden_sizes": [8, 8], "critic_layer_norm": True}})
    agent, hyper = make_agent(config, O, A), make_hyper(config, A)
    state = jax.eval_shape(agent.init, KEY, hyper)
    assert sum(operations(agent.update, state, BATCH, hyper, KEY).values()) > TOTALS[name]["update"]
