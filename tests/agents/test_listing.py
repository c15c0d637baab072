"""Every option of the original listing does what it says, and its known mistakes are not here."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax import config as config_lib
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import ConfigError
from sacbrax.core.types import Transition
from sacbrax.policy_file import files as policy_files
from sacbrax.run import loop
from sacbrax.training.trainer import Trainer

B, O, A = 32, 3, 2


def setup(*overrides):
    """(agent, its state, a random minibatch, hyper) of SAC-v1 on networks of one small layer."""
    mapping = {"algorithm": {"name": "sac_v1"}, "network": {"hidden_sizes": [8], "activation": "tanh"}}
    for override in overrides:
        config_lib.apply_override(mapping, override)
    config = config_lib.from_mapping(mapping)
    agent = make_agent(config, O, A)
    keys = jax.random.split(jax.random.key(1), 5)
    batch = Transition(
        observation=jax.random.normal(keys[0], (B, O)),
        action=jax.random.uniform(keys[1], (B, A), minval=-1.0),
        reward=jax.random.normal(keys[2], (B,)),
        discount=jnp.full(B, 0.9),
        next_observation=jax.random.normal(keys[3], (B, O)),
    )
    hyper = make_hyper(config, A)
    return agent, agent.init(jax.random.key(0), hyper), batch, hyper


def moved(before, after):
    return any(
        np.any(np.asarray(x) != np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (before, after)), strict=True)
    )


def shifted(params, group, index, amount):
    """The parameters with `amount` added to the output bias of a network, or of one member of the critics."""
    bias = params[group]["params"]["Dense_1"]["bias"].at[index].add(amount)
    inner = params[group]["params"] | {"Dense_1": params[group]["params"]["Dense_1"] | {"bias": bias}}
    return params | {group: {"params": inner}}


def test_each_diagnostic_comes_from_its_own_network():
    agent, state, batch, hyper = setup()
    key = jax.random.key(2)
    base = agent.diagnostics(state, batch, hyper, key)
    q = agent.critics(state.params["critic"], batch.observation, batch.action)
    value = agent.value(state.params["value"], batch.observation)
    next_value = agent.value(state.target["value"], batch.next_observation)
    error = (batch.reward + batch.discount * next_value)[None] - q
    expected = {
        "qf1_mean": q[0].mean(),
        "qf1_std": q[0].std(),
        "qf2_mean": q[1].mean(),
        "qf2_std": q[1].std(),
        "mean_qf_diff": jnp.abs(q[0] - q[1]).mean(),
        "vf_mean": value.mean(),
        "vf_std": value.std(),
        "mean_sq_bellman_error1": 0.5 * (error[0] ** 2).mean(),
        "mean_sq_bellman_error2": 0.5 * (error[1] ** 2).mean(),
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(base[name], wanted, rtol=1e-5, err_msg=name)

    second = agent.diagnostics(state.replace(params=shifted(state.params, "critic", 1, 5.0)), batch, hyper, key)
    assert float(second["qf2_mean"] - base["qf2_mean"]) == pytest.approx(5.0, rel=1e-4)
    for name in ("qf1_mean", "qf1_std", "mean_sq_bellman_error1", "vf_mean"):
        assert float(second[name]) == float(base[name]), name
    lifted = agent.diagnostics(state.replace(params=shifted(state.params, "value", 0, 5.0)), batch, hyper, key)
    assert float(lifted["vf_mean"] - base["vf_mean"]) == pytest.approx(5.0, rel=1e-4)
    assert float(lifted["mean_sq_bellman_error1"]) == float(base["mean_sq_bellman_error1"])  # that is the target V's


def test_logged_log_probability_has_the_tanh_correction():
    agent, state, batch, hyper = setup()
    squashed = agent.diagnostics(state, batch, hyper, jax.random.key(2))["policy_log_prob"]
    plain_agent, *_ = setup("policy.squash=false")
    plain = plain_agent.diagnostics(state, batch, hyper, jax.random.key(2))["policy_log_prob"]
    assert float(squashed - plain) > 0.3  # -log(1 - tanh^2) > 0


@pytest.mark.parametrize(("algorithm", "group"), [("sac_v1", "value"), ("sac_v2", "critic")])
def test_target_starts_as_a_copy(algorithm, group):
    _, state, *_ = setup(f"algorithm.name={algorithm}")
    jax.tree.map(np.testing.assert_array_equal, state.target[group], state.params[group])


def test_target_moves_every_interval_by_tau():
    agent, state, batch, hyper = setup("algorithm.target_update_interval=3", "algorithm.tau=0.25")
    start = state.target
    for step in range(1, 4):
        state, _ = agent.update(state, batch, hyper, jax.random.key(step))
        assert moved(start, state.target) == (step == 3)
    wanted = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, start["value"], state.params["value"])
    jax.tree.map(lambda w, g: np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-7), wanted, state.target["value"])


@pytest.mark.parametrize("algorithm", ["sac_v1", "sac_v2"])
@pytest.mark.parametrize(
    "override",
    [
        "policy.regularization=0.5",
        "algorithm.action_prior=normal",
        "algorithm.policy_q=first",
        "algorithm.policy_gradient=likelihood_ratio",
        "algorithm.actor_learning_rate=0.1",
        "policy.squash=false",
    ],
)
def test_an_option_of_the_actor_changes_the_actor(override, algorithm):
    agent, state, batch, hyper = setup(f"algorithm.name={algorithm}")
    other_agent, _, _, other_hyper = setup(f"algorithm.name={algorithm}", override)
    key = jax.random.key(3)
    one, other = agent.update(state, batch, hyper, key)[0], other_agent.update(state, batch, other_hyper, key)[0]
    for gradient in jax.tree.leaves((one.optimizer.mu["actor"], other.optimizer.mu["actor"])):
        assert np.abs(gradient).max() > 1e-6, "there must be a gradient to be changed"
    assert moved(one.optimizer.mu["actor"], other.optimizer.mu["actor"]) or moved(
        one.params["actor"], other.params["actor"]
    )


@pytest.mark.parametrize("option", ["critic", "value"])
def test_a_learning_rate_moves_its_own_group(option):
    agent, state, batch, hyper = setup()
    _, _, _, other_hyper = setup(f"algorithm.{option}_learning_rate=0.1")
    one, other = (agent.update(state, batch, h, jax.random.key(3))[0] for h in (hyper, other_hyper))
    for group in state.params:
        assert moved(one.params[group], other.params[group]) == (group == option), group


def test_reward_scale_follows_the_gradient_step():
    schedule = "algorithm.reward_scale={schedule: piecewise, values: [1, 10], boundaries: [2]}"
    agent, state, batch, hyper = setup(schedule)
    plain_agent, _, _, plain_hyper = setup("algorithm.reward_scale=10")
    for step in range(4):
        scheduled, plain = state.replace(gradient_steps=step), state
        ours = agent.update(scheduled, batch, hyper, jax.random.key(3))[0]
        theirs = plain_agent.update(plain, batch, plain_hyper, jax.random.key(3))[0]
        assert moved(ours.optimizer.mu["critic"], theirs.optimizer.mu["critic"]) == (step < 2)


@pytest.mark.parametrize("gradient", ["reparameterized", "likelihood_ratio"])
def test_each_loss_moves_only_its_own_parameters(gradient):
    """Whatever is added to the actor's loss, the gradients of Q and V stay what they are."""
    agent, state, batch, hyper = setup(f"algorithm.policy_gradient={gradient}")
    other_agent, *_ = setup(f"algorithm.policy_gradient={gradient}", "policy.regularization=3.0")
    key = jax.random.key(3)
    one, other = (a.update(state, batch, hyper | {"regularization": 3.0}, key)[0] for a in (agent, other_agent))
    for group in ("critic", "value"):
        assert not moved(one.optimizer.mu[group], other.optimizer.mu[group]), group


def test_exploration_is_counted_in_env_steps_exactly(tiny):
    """10 uniform env steps of 4 environments: the third vector step is half the policy's."""
    config = tiny("train.exploration_env_steps=10", "train.batch_size=4", "network.normalize_observations=false")
    trainer = Trainer(config)
    state, hyper = trainer.init(jax.random.key(0), trainer.hyper()), trainer.hyper()
    # A policy that always says 0.99 gives itself away.
    bias = jnp.asarray([2.65, 2.65, -20.0, -20.0])
    actor = jax.tree.map(jnp.zeros_like, state.agent.params["actor"])
    actor["params"]["Dense_1"]["bias"] = bias
    state = state.replace(agent=state.agent.replace(params=state.agent.params | {"actor": actor}))
    state = trainer.prefill(state, hyper)
    actions = np.asarray(state.replay.rows[:12, 2:4])
    own = np.all(np.abs(actions - np.tanh(2.65)) < 1e-3, axis=1)
    np.testing.assert_array_equal(own, [False] * 10 + [True] * 2)


def test_unsquashed_actions_are_clipped_by_the_environment_and_stored_whole(tiny):
    config = tiny("env.name=probes:Mirror", "policy.squash=false", "algorithm.n_step=1")
    trainer = Trainer(config)
    state, hyper = trainer.init(jax.random.key(0), trainer.hyper()), trainer.hyper()
    action = jnp.full((4, 1), 3.0)
    state, _ = trainer._collect(state, action, jax.random.key(1), hyper)
    rows = np.asarray(state.replay.rows[:4])
    np.testing.assert_array_equal(rows[:, 2], 3.0)  # observation [2] | action | next observation [2] | reward
    np.testing.assert_allclose(np.abs(rows[:, 5]), 1.0)


RUN = (
    "algorithm.name=sac_v1",
    "env.name=probes:Bandit",
    "policy.kind=gmm",
    "algorithm.policy_gradient=likelihood_ratio",
    "algorithm.n_step=1",
    "train.exploration_env_steps=18",
    "checkpoint.snapshots=true",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the mixture policy, exploration no multiple of the environments."""
    from tiny_config import make_tiny

    directory = tmp_path_factory.mktemp("runs") / "source"
    return loop.run(make_tiny(*RUN, f"run.dir={directory}"), quiet=True)


def test_a_run_logs_the_diagnostics_and_counts_updates(finished):
    rows = [json.loads(line) for line in (finished.run_dir / "metrics.jsonl").read_text().splitlines()]
    names = {"qf1_mean", "qf1_std", "qf2_mean", "qf2_std", "mean_qf_diff", "vf_mean", "vf_std"}
    names |= {"mean_sq_bellman_error1", "mean_sq_bellman_error2", "policy_log_prob", "policy_weight_entropy"}
    for row in rows:
        for name in names:
            assert np.isfinite(row[f"diag/{name}"]), name
    explored = 20  # 18 in whole vector steps of 4
    assert [row["gradient_steps"] for row in rows] == [(row["env_steps"] - explored) // 4 * 2 for row in rows]
    assert rows[0]["env_steps"] == explored


def test_a_run_keeps_a_light_snapshot_of_every_evaluation(finished):
    files = sorted((finished.run_dir / "checkpoints").glob("snapshot_*.npz"))
    assert [int(file.stem.partition("_")[2]) for file in files] == [row["env_steps"] for row in finished.metrics]
    policy = policy_files.load_policy(files[-1])
    assert policy.header["env"]["name"] == "probes:Bandit"
    assert {"kernel_0", "critic_kernel_0", "value_kernel_0", "observation_mean"} <= set(policy.arrays)
    assert policy.q(np.zeros(2), np.zeros(1)).shape == (2,)
    assert finished.policy()(np.zeros((5, 2))).shape == (5, 1)


def warm(finished, *overrides):
    """(state before learning, source's parameters) of a run that starts from `finished`."""
    from tiny_config import make_tiny

    from sacbrax.run import warm_start

    config = make_tiny(*RUN, f"init.from={finished.run_dir}", *overrides)
    trainer = Trainer(config)
    loaded = warm_start.load(config, jax.eval_shape(trainer.init, jax.random.key(9), trainer.hyper()))
    fresh = trainer.init(jax.random.key(9), trainer.hyper())
    source = policy_files.parameters(policy_files.load_policy(finished.run_dir), fresh.agent.params)
    return fresh, warm_start.apply(fresh, loaded), source


def test_warm_start_takes_everything_and_targets_follow(finished):
    fresh, state, source = warm(finished)
    assert moved(fresh.agent.params, state.agent.params)
    jax.tree.map(np.testing.assert_array_equal, source, state.agent.params)
    jax.tree.map(np.testing.assert_array_equal, source["value"], state.agent.target["value"])
    assert not moved(fresh.agent.optimizer, state.agent.optimizer)
    assert int(state.normalizer.steps) > 0
    np.testing.assert_allclose(
        state.normalizer.mean, policy_files.load_policy(finished.run_dir).arrays["observation_mean"]
    )


def test_warm_start_takes_only_the_parts_asked_for(finished):
    fresh, state, source = warm(finished, "init.parts=[policy]")
    jax.tree.map(np.testing.assert_array_equal, source["actor"], state.agent.params["actor"])
    for group in ("critic", "value"):
        jax.tree.map(np.testing.assert_array_equal, fresh.agent.params[group], state.agent.params[group])
    assert not moved(fresh.agent.target, state.agent.target)


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("network.hidden_sizes=[9]", "network.hidden_sizes"),
        ("policy.components=3", "shape"),
        ("policy.kind=gaussian", "policy.kind"),
        ("network.activation=tanh", "network.activation"),
        ("network.normalize_observations=false", "normalize_observations"),
        ("init.parts=[temperature]", "init.parts"),
        ("init.parts=[brain]", "choose from policy"),
    ],
)
def test_warm_start_that_does_not_fit_is_one_clear_line(finished, override, word):
    with pytest.raises(ConfigError, match=word) as error:
        warm(finished, override)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "values", "also"),
    [
        ("network.actor_layer_norm", ("true", "false"), ()),
        ("network.critic_layer_norm", ("true", "false"), ("init.parts=[value]", "init.parts=[critics]")),
        ("network.hidden_sizes", ("[2]", "[2,2]"), ("init.parts=[policy]",)),
        ("network.actor_hidden_sizes", ("[2]", "[2,2]"), ("init.parts=[policy]",)),
        ("network.actor_block", ("plain", "simba"), ("init.parts=[policy]",)),
        ("network.actor_weight_norm", ("true", "false"), ("init.parts=[policy]",)),
        ("network.actor_batch_norm", ("off", "batch"), ("init.parts=[policy]",)),
        ("network.critic_weight_norm", ("true", "false"), ("init.parts=[value]", "init.parts=[critics]")),
        ("network.critic_block", ("plain", "simba"), ("init.parts=[value]", "init.parts=[critics]")),
        ("network.critic_hidden_sizes", ("[2]", "[2,2]"), ("init.parts=[value]", "init.parts=[critics]")),
        ("policy.coupling_layers", ("2", "3"), ("policy.kind=latent",)),
        ("policy.coupling_hidden_sizes", ("[2]", "[2,2]"), ("policy.kind=latent",)),
        ("policy.action_gain", ("1", "2"), ("init.parts=[policy]", "init.parts=[critics]")),
        ("policy.log_sigma_max", ("2", "1"), ()),
        ("policy.log_sigma_min", ("-20", "-5"), ()),
        ("policy.squash", ("true", "false"), ()),
    ],
)
def test_networks_that_mean_something_else_are_refused_by_name(tiny, tmp_path, key, values, also):
    base = ["algorithm.name=sac_v1", *(part for part in also if not part.startswith("init"))]
    for there, here in (values, values[::-1]):
        config = tiny(*base, f"{key}={there}")
        trainer = Trainer(config)
        state = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), jax.eval_shape(plain_init(trainer)))
        params = state.agent.params
        sizes = (trainer.observation_size, trainer.action_size)
        policy_files.save(tmp_path / "a.npz", config, params["actor"], state.normalizer, sizes, {}, params)
        for parts in [part for part in also if part.startswith("init")] or ["init.from=null"]:
            load(tiny(*base, parts, f"{key}={there}", f"init.from={tmp_path / 'a.npz'}"))
            with pytest.raises(ConfigError, match=f"^{key}: "):
                load(tiny(*base, parts, f"{key}={here}", f"init.from={tmp_path / 'a.npz'}"))


def plain_init(trainer):
    """`trainer.init` without the key, of which NumPy has no type."""
    return lambda: trainer.init(jax.random.key(0), trainer.hyper()).replace(key=None)


def load(config):
    from sacbrax.run import warm_start

    return warm_start.load(config, jax.eval_shape(plain_init(Trainer(config))))


def test_spoilt_statistics_are_refused(tiny, tmp_path):
    trainer = Trainer(tiny())
    state = trainer.init(jax.random.key(0), trainer.hyper())
    path, sizes = tmp_path / "a.npz", (trainer.observation_size, trainer.action_size)
    spoilt = state.normalizer.replace(variance=np.array([1.0, np.inf]))
    policy_files.save(path, trainer.config, state.agent.params["actor"], spoilt, sizes, {}, {})
    with pytest.raises(ConfigError, match=r"^init\.from: the running statistics of .* are spoilt$"):
        load(tiny(f"init.from={path}"))


def test_the_mean_reward_comes_along_without_a_normalizer(tiny, tmp_path):
    from sacbrax.run import warm_start

    options = ("network.normalize_observations=false", "algorithm.reward_centering=0.1")
    trainer = Trainer(tiny(*options))
    state = trainer.init(jax.random.key(0), trainer.hyper())
    found = state.normalizer.replace(reward_mean=3.0, reward_variance=4.0, steps=50)
    path, sizes = tmp_path / "a.npz", (trainer.observation_size, trainer.action_size)
    policy_files.save(path, trainer.config, state.agent.params["actor"], found, sizes, {}, {})
    config = tiny(*options, f"init.from={path}")
    state = warm_start.apply(state, load(config))
    assert warm_start.line(config, load(config)) == f"starting with policy of {path}"
    after = state.normalizer
    assert (float(after.reward_mean), float(after.reward_variance), int(after.steps)) == (3.0, 4.0, 50)


def test_a_warm_started_run_begins_where_the_other_ended(finished, tmp_path):
    from tiny_config import make_tiny

    overrides = (*RUN, f"init.from={finished.run_dir}", f"run.dir={tmp_path / 'warm'}", "train.num_seeds=2")
    result = loop.run(make_tiny(*overrides, "checkpoint.full=false"), quiet=True)
    first = policy_files.load_policy(sorted((result.run_dir / "checkpoints").glob("snapshot_*.npz"))[0])
    source = policy_files.load_policy(finished.run_dir)
    np.testing.assert_array_equal(first.arrays["kernel_0"], source.arrays["kernel_0"])
    # Without full checkpoints only light snapshots are there.
    files = [path for path in (result.run_dir / "checkpoints").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".npz"}


def test_the_listings_example_number_by_number():
    config = config_lib.load("configs/listing.yaml")
    algorithm, policy, train = config.algorithm, config.policy, config.train
    assert (config.env.name, config.env.num_envs) == ("swimmer_rllab", 1)
    assert (algorithm.name, algorithm.learning_rate, algorithm.gamma, algorithm.tau) == ("sac_v1", 3e-4, 0.99, 0.01)
    assert (algorithm.reward_scale, algorithm.target_update_interval) == (1, 1)
    assert (algorithm.policy_gradient, algorithm.action_prior) == ("likelihood_ratio", "uniform")
    assert (policy.kind, policy.components, policy.regularization) == ("gmm", 2, 1e-3)
    assert config.network.hidden_sizes == (100, 100)
    assert (config.replay.capacity, train.exploration_env_steps, train.batch_size) == (1_000_000, 1000, 64)
    assert (train.updates_per_step, config.iterations_per_epoch, config.num_epochs) == (1, 1000, 1000)
    assert (config.eval.episodes, config.eval.deterministic, config.checkpoint.full) == (1, True, False)


@pytest.mark.parametrize("deterministic", [True, False])
def test_evaluation_plays_the_mode_or_samples(tiny, deterministic):
    """At u ~ N(0, 1) the bandit pays -0.25 for the mode, and something else in every sampled episode."""
    config = tiny("env.name=probes:Bandit", f"eval.deterministic={str(deterministic).lower()}", "eval.episodes=5")
    trainer = Trainer(config)
    state = trainer.init(jax.random.key(0), trainer.hyper())
    actor = jax.tree.map(jnp.zeros_like, state.agent.params["actor"])
    state = state.replace(agent=state.agent.replace(params=state.agent.params | {"actor": actor}))
    returns = np.asarray(trainer.evaluate(state, jax.random.key(1))["return"])
    assert returns.shape == (5,)
    assert len(set(returns.tolist())) == (1 if deterministic else 5)
    assert not deterministic or returns[0] == pytest.approx(-0.25)
