"""Both agents: targets, the order of one update, which loss moves which parameters, and the options."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from sacbrax import config as config_lib
from sacbrax.agents import registry
from sacbrax.agents.agent import AgentState
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import Config
from sacbrax.core.types import Transition

Tiny = Callable[..., Config]
ALGORITHMS = ["sac_v1", "sac_v2"]
O, A, B = 3, 2, 16


@functools.cache
def _make(text: str) -> tuple[Any, AgentState, Any]:
    config = config_lib.from_mapping(yaml.safe_load(text))
    agent = make_agent(config, O, A)
    return agent, jax.jit(agent.init)(jax.random.key(0), make_hyper(config, A)), jax.jit(agent.update)


def make(config: Config) -> tuple[Any, AgentState, Hyper, Any]:
    """Agent, its first state, hyperparameters, and the compiled update: one for equal configurations."""
    agent, state, update = _make(config.to_yaml())
    return agent, state, make_hyper(config, A), update


def batch(**changes: Any) -> Transition:
    keys = jax.random.split(jax.random.key(7), 4)
    return Transition(
        observation=jax.random.normal(keys[0], (B, O)),
        action=jax.random.uniform(keys[1], (B, A), minval=-1, maxval=1),
        reward=jax.random.normal(keys[2], (B,)),
        discount=jnp.full(B, 0.9),
        next_observation=jax.random.normal(keys[3], (B, O)),
    ).replace(**changes)


def gradients(config: Config, change: Callable[[AgentState], AgentState] | None = None, **options: Any) -> Any:
    """The gradient of each parameter group; after one step Adam's first moment is a tenth of it."""
    _, state, hyper, update = make(config)
    state = state if change is None else change(state)
    new, _ = update(state, batch(**options.get("batch", {})), hyper, options.get("key", jax.random.key(1)))
    return jax.tree.map(lambda mu: np.asarray(mu) * 10, new.optimizer.mu)


def changed_groups(a: Any, b: Any) -> set[str]:
    far = jax.tree.map(lambda x, y: bool(np.abs(x - y).max() > 1e-5), a, b)
    return {group for group in a if any(jax.tree.leaves(far[group]))}


def shift(group: str, target: bool = False) -> Callable[[AgentState], AgentState]:
    def change(state: AgentState) -> AgentState:
        tree = dict(state.target if target else state.params)
        tree[group] = jax.tree.map(lambda p: p + 0.1, tree[group])
        return state.replace(target=tree) if target else state.replace(params=tree)

    return change


def test_every_group_has_a_gradient(tiny: Tiny) -> None:
    for name in ALGORITHMS:
        for group, tree in gradients(tiny(f"algorithm.name={name}")).items():
            assert all(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(tree)), group


@pytest.mark.parametrize(
    ("name", "options", "moved"),
    [
        # What enters only a critic's target moves only the critics.
        ("sac_v1", {"batch": {"reward": jnp.ones(B)}}, {"critic"}),
        ("sac_v2", {"batch": {"reward": jnp.ones(B)}}, {"critic"}),
        ("sac_v1", {"change": shift("value", target=True)}, {"critic"}),
        ("sac_v2", {"change": shift("critic", target=True)}, {"critic"}),
        ("sac_v1", {"batch": {"next_observation": jnp.ones((B, O))}}, {"critic"}),
        ("sac_v2", {"batch": {"next_observation": jnp.ones((B, O))}}, {"critic"}),
        ("sac_v1", {"batch": {"action": jnp.zeros((B, A))}}, {"critic"}),
        # V is only its own loss's business, its slow copy feeds the critics.
        ("sac_v1", {"change": shift("value")}, {"value"}),
        # The draw of the action: in v1 one draw for actor and value; in v2 also the next action of the target.
        ("sac_v1", {"key": jax.random.key(2)}, {"actor", "value"}),
        ("sac_v2", {"key": jax.random.key(2)}, {"actor", "critic", "log_temperature"}),
        # The temperature weighs entropy in actor and target, and is no part of its own gradient.
        ("sac_v2", {"change": shift("log_temperature")}, {"actor", "critic"}),
    ],
)
def test_each_loss_moves_only_its_own_parameters(tiny: Tiny, name: str, options: Any, moved: set[str]) -> None:
    config = tiny(f"algorithm.name={name}", "network.activation=tanh")
    assert changed_groups(gradients(config), gradients(config, **options)) == moved


@pytest.mark.parametrize("name", ALGORITHMS)
def test_policy_q_concerns_the_actor_alone(tiny: Tiny, name: str) -> None:
    first, smallest = (
        gradients(tiny(f"algorithm.name={name}", f"algorithm.policy_q={choice}")) for choice in ("first", "min")
    )
    assert changed_groups(first, smallest) == {"actor"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_policy_q_first_is_the_first_critic(tiny: Tiny, name: str) -> None:
    config = tiny(f"algorithm.name={name}", "algorithm.policy_q=first")

    def sink_the_second(state: AgentState) -> AgentState:
        critic = jax.tree.map(lambda p: p.at[1].add(-0.5), state.params["critic"])
        return state.replace(params={**state.params, "critic": critic})

    assert "actor" not in changed_groups(gradients(config), gradients(config, sink_the_second))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_all_gradients_are_taken_before_any_step(tiny: Tiny, name: str) -> None:
    """Were the actor's gradient taken after the critics' step, it would depend on the size of that step."""
    small, large = (
        gradients(tiny(f"algorithm.name={name}", f"algorithm.learning_rate={rate}")) for rate in ("1e-6", "1e-1")
    )
    assert changed_groups(small, large) == set()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_target_starts_as_a_copy_with_memory_of_its_own(tiny: Tiny, name: str) -> None:
    config = tiny(f"algorithm.name={name}")
    agent = make_agent(config, O, A)
    for init in (agent.init, jax.jit(agent.init)):
        state = init(jax.random.key(0), make_hyper(config, A))
        group = {"sac_v1": "value", "sac_v2": "critic"}[name]
        assert set(state.target) == {group}
        pairs = list(zip(jax.tree.leaves(state.target[group]), jax.tree.leaves(state.params[group]), strict=True))
        for target, trained in pairs:
            np.testing.assert_array_equal(target, trained)
            assert target.unsafe_buffer_pointer() != trained.unsafe_buffer_pointer()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_target_follows_the_stepped_parameters_at_its_interval(tiny: Tiny, name: str) -> None:
    config = tiny(f"algorithm.name={name}", "algorithm.target_update_interval=3", "algorithm.tau=0.25")
    agent, state, hyper, update = make(config)
    group = agent.targets[0]
    for step in range(1, 7):
        new, _ = update(state, batch(), hyper, jax.random.key(step))
        assert int(new.gradient_steps) == step
        for before, after, trained in zip(
            *(jax.tree.leaves(tree) for tree in (state.target, new.target, new.params[group])), strict=True
        ):
            expected = 0.75 * before + 0.25 * trained if step % 3 == 0 else before
            np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-7)
            assert (np.abs(after - before).max() > 0) == (step % 3 == 0)
        state = new


@pytest.mark.parametrize("name", ALGORITHMS)
def test_rates_scale_steps_and_stay_traced(tiny: Tiny, name: str) -> None:
    agent, state, hyper, _ = make(tiny(f"algorithm.name={name}"))
    update = jax.jit(agent.update)
    results = []
    for rate in (1e-3, 2e-3):
        changed = hyper | {"learning_rate": jnp.float32(rate), "temperature_learning_rate": jnp.float32(0.0)}
        results.append(update(state, batch(), changed, jax.random.key(1))[0].params)
    assert update._cache_size() == 1
    for group in state.params:
        factor = 0.0 if group == "log_temperature" else 2.0
        for start, one, two in zip(*(jax.tree.leaves(tree[group]) for tree in (state.params, *results)), strict=True):
            np.testing.assert_allclose(two - start, factor * (one - start), rtol=1e-2, atol=1e-6)
            assert (np.abs(one - start).max() > 0) == (factor > 0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_terminated_row_does_not_look_ahead(tiny: Tiny, name: str) -> None:
    config = tiny(f"algorithm.name={name}")
    ended = {"discount": jnp.zeros(B)}
    a = gradients(config, batch=ended)
    b = gradients(config, batch=ended | {"next_observation": jnp.ones((B, O)) * 5})
    assert changed_groups(a, b) == set()


@pytest.mark.parametrize(("name", "size"), [("sac_v1", 1), ("sac_v2", 3)])
def test_there_may_be_any_number_of_critics(tiny: Tiny, name: str, size: int) -> None:
    """Each with a loss of its own; the target has the smallest value of all."""
    config = tiny(f"algorithm.name={name}", f"algorithm.num_critics={size}")
    agent, state, hyper, update = make(config)
    q = agent.critics(state.params["critic"], batch().observation, batch().action)
    new, sums = update(state, batch(discount=jnp.zeros(B)), hyper, jax.random.key(1))  # the target is the reward
    expected = 0.5 * np.sum(np.mean((np.asarray(q) - np.asarray(batch().reward)) ** 2, axis=1))
    assert float(sums["critic_loss"]) == pytest.approx(float(expected), rel=1e-5)
    for a, b in zip(*(jax.tree.leaves(s.params["critic"]) for s in (new, state)), strict=True):
        assert len(a) == size
        assert all(np.any(mine != theirs) for mine, theirs in zip(np.asarray(a), np.asarray(b), strict=True))
    seen = agent.diagnostics(state, batch(), hyper, jax.random.key(2))
    assert [name for name in seen if name.endswith("_mean") and name[:2] == "qf"] == [
        f"qf{i + 1}_mean" for i in range(size)
    ]
    difference = np.mean(np.max(q, axis=0) - np.min(q, axis=0))
    assert float(seen["mean_qf_diff"]) == pytest.approx(float(difference), abs=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_some_critics_drawn_for_every_update_make_the_target(tiny: Tiny, name: str) -> None:
    """Two of five, every pair as likely as another; the key for everything else is a new one."""
    agent = make_agent(tiny(f"algorithm.name={name}", "algorithm.num_critics=5", "algorithm.target_critics=2"), O, A)
    keys = jax.random.split(jax.random.key(5), 4000)
    left, members = jax.vmap(agent._members)(keys)
    assert members.shape == (4000, 2)
    pairs, counts = np.unique(np.sort(members, axis=1), axis=0, return_counts=True)
    assert [tuple(pair) for pair in pairs] == [(i, j) for i in range(5) for j in range(i + 1, 5)]
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400 * 0.9)
    assert (jax.random.key_data(left) != jax.random.key_data(keys)).any(axis=1).all()


def test_no_more_critics_than_there_are_make_the_target(tiny: Tiny) -> None:
    with pytest.raises(config_lib.ConfigError, match=r"algorithm.target_critics: must be at most .*num_critics = 2"):
        tiny("algorithm.target_critics=3")


def test_temperature_falls_when_entropy_is_above_its_target(tiny: Tiny) -> None:
    for entropy, falls in [("-10", True), ("1.38", False)]:
        _, state, hyper, update = make(tiny(f"algorithm.target_entropy={entropy}"))
        new, _ = update(state, batch(), hyper, jax.random.key(1))
        assert (new.params["log_temperature"] < state.params["log_temperature"]) == falls


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_agent_that_is_stuck_stays_so(tiny: Tiny, name: str) -> None:
    """The host may look after many more updates; one below the limit is forgotten by a sound update."""
    _, state, hyper, update = make(tiny(f"algorithm.name={name}", "train.max_bad_updates=3"))
    for before, after in ((0, 0), (2, 0), (3, 3)):
        new, _ = update(state.replace(bad_updates=jnp.int32(before)), batch(), hyper, jax.random.key(1))
        assert int(new.bad_updates) == after


@pytest.mark.parametrize("name", ALGORITHMS)
def test_actor_and_critics_may_have_sizes_of_their_own(tiny: Tiny, name: str) -> None:
    sizes = {"actor": (5, 3), "critic": (4, 7, 6), "value": (4, 7, 6)}
    options = [f"network.{group}_hidden_sizes={list(sizes[group])}" for group in ("actor", "critic")]
    _, state, _, _ = make(tiny(f"algorithm.name={name}", *options))
    for group in set(state.params) & set(sizes):
        layers = state.params[group]["params"]
        widths = [layers[f"Dense_{i}"]["kernel"].shape[-1] for i in range(len(layers))]
        assert tuple(widths[:-1]) == sizes[group]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("normed", ["actor", "critic"])
def test_layer_norm_is_where_it_is_asked_for(tiny: Tiny, name: str, normed: str) -> None:
    _, state, _, _ = make(tiny(f"algorithm.name={name}", f"network.{normed}_layer_norm=true"))
    found = {group for group, tree in state.params.items() if "LayerNorm_0" in str(jax.tree.structure(tree))}
    assert found == ({"actor"} if normed == "actor" else set(state.params) & {"critic", "value"})


def test_nulls_are_resolved(tiny: Tiny) -> None:
    hyper = make_hyper(tiny("algorithm.learning_rate=0.01"), A)
    assert float(hyper["target_entropy"]) == -A
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(hyper))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_acting(tiny: Tiny, name: str) -> None:
    agent, state, _, _ = make(tiny(f"algorithm.name={name}"))
    observation = jax.random.normal(jax.random.key(3), (50, O)) * 0.1
    action = agent.act(state, observation, jax.random.key(4))
    assert action.shape == (50, A)
    assert np.abs(action).max() <= 1
    assert np.abs(action - agent.act(state, observation, jax.random.key(5))).min() > 0
    mode = agent.act_deterministic(state, observation)
    mean, _ = agent.policy._parameters(state.params["actor"], observation)
    np.testing.assert_allclose(mode, np.tanh(mean), rtol=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_deterministic_action_is_the_candidate_of_highest_smallest_q(tiny: Tiny, name: str) -> None:
    agent, state, _, _ = make(tiny(f"algorithm.name={name}", "policy.kind=gmm", "policy.components=5"))
    observation = jax.random.normal(jax.random.key(3), (200, O))
    candidates = np.tanh(agent.policy.candidates(state.params["actor"], observation))  # [B, C, A]
    q = np.stack([agent.critics(state.params["critic"], observation, candidates[:, i]) for i in range(5)], axis=2)
    rows = np.arange(200)
    np.testing.assert_allclose(
        agent.act_deterministic(state, observation), candidates[rows, q.min(axis=0).argmax(axis=1)], rtol=1e-5
    )
    for other in (q[0], q[1], q.max(axis=0), q.mean(axis=0)):
        assert (other.argmax(axis=1) != q.min(axis=0).argmax(axis=1)).any(), "the critics must disagree somewhere"


def test_the_table_of_algorithms_is_the_configurations(tiny: Tiny) -> None:
    assert sorted(registry.ALGORITHMS) == ALGORITHMS
