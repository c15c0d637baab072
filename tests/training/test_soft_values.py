"""Learning by the book: soft values, entropies and temperatures that an integral gives, for both algorithms, all
policies, both gradients and both priors; and values of tasks that end at random, are cut at odd lengths, or go on."""

import itertools

import jax
import numpy as np
import pytest
from learners import Tiny, learn, mode, q_values
from probes import later

ALPHA, GAMMA = 0.5, 0.8
GRID = np.linspace(-1.0, 1.0, 4001)
# As a SAC-v1 weighs entropy with 1, its rewards are scaled by 1 / alpha; SAC-v2 keeps its temperature.
SCALE = {"sac_v1": 1 / ALPHA, "sac_v2": 1.0}
SOFT = (
    f"algorithm.gamma={GAMMA}",
    "algorithm.n_step=1",
    f"algorithm.initial_temperature={ALPHA}",
    "algorithm.learning_rate=4e-3",
)
KINDS, GRADIENTS, PRIORS = ("gaussian", "gmm", "latent"), ("reparameterized", "likelihood_ratio"), ("uniform", "normal")
FAST = [
    ("sac_v1", "gaussian", "reparameterized", "uniform"),
    ("sac_v2", "gaussian", "reparameterized", "normal"),
    ("sac_v2", "gmm", "likelihood_ratio", "uniform"),
    ("sac_v1", "latent", "likelihood_ratio", "normal"),
]
REST = [case for case in itertools.product(SCALE, KINDS, GRADIENTS, PRIORS) if case not in FAST]
CASES = [*FAST, *(pytest.param(case, marks=pytest.mark.slow) for case in REST)]


def integral(numbers: np.ndarray) -> float:
    return float(np.trapezoid(numbers, GRID))


def log_prior(prior: str) -> np.ndarray:
    return -0.5 * GRID**2 - 0.5 * np.log(2 * np.pi) if prior == "normal" else np.zeros_like(GRID)


def soft_optimum(reward: np.ndarray, prior: str) -> tuple[float, float, float]:
    """Of one step: alpha log integral of prior exp(r / alpha), the best policy's mean action, and its entropy."""
    weight = np.exp(log_prior(prior) + reward / ALPHA)
    density = weight / integral(weight)
    entropy = -integral(density * np.log(density))
    return ALPHA * float(np.log(integral(weight))), integral(density * GRID), entropy


SUPPORT = ("critic.v_min=-10", "critic.v_max=6", "critic.num_atoms=41", "algorithm.critic_learning_rate=1e-2")
HEADS = {
    "categorical": ("sac_v2", "critic.kind=categorical"),
    "categorical symlog": ("sac_v2", "critic.kind=categorical", "critic.atom_spacing=symlog"),
    "categorical sac_v1": ("sac_v1", "critic.kind=categorical", "train.updates_per_step=16"),
}
HEADS_FAST = ("categorical",)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_soft_values_of_two_steps(tiny: Tiny, case: tuple[str, ...]) -> None:
    check_two_steps(tiny, case)


@pytest.mark.parametrize(
    "head", [*HEADS_FAST, *(pytest.param(head, marks=pytest.mark.slow) for head in HEADS if head not in HEADS_FAST)]
)
def test_soft_values_of_two_steps_by_a_distribution(tiny: Tiny, head: str) -> None:
    """The entropy moves the whole distribution: its mean is the same value, within a support of 41 atoms."""
    algorithm, *options = HEADS[head]
    check_two_steps(tiny, (algorithm, "gaussian", "reparameterized", "uniform"), *SUPPORT, *options)


def check_two_steps(tiny: Tiny, case: tuple[str, ...], *more: str) -> None:
    """The last step pays -2 (a - 0.3)^2; before it the action matters to nothing but entropy."""
    algorithm, kind, gradient, prior = case
    options = (f"policy.kind={kind}", f"algorithm.policy_gradient={gradient}", f"algorithm.action_prior={prior}")
    scale = SCALE[algorithm]
    trainer, state = learn(tiny, algorithm, "Later", *SOFT, *options, f"algorithm.reward_scale={scale}", *more)
    value, mean, entropy = soft_optimum(later(GRID), prior)
    draws = np.linspace(-0.9, 0.9, 8)
    first, last = (np.stack([draws, np.full(8, time)], axis=1) for time in (0.0, 1.0))
    critics = trainer.agent.critics
    actions = np.linspace(-0.8, 0.8, 8)[::-1, None]

    def q(observation: np.ndarray) -> np.ndarray:
        return np.asarray(critics(state.agent.params["critic"], state.normalizer(observation), actions)) / scale

    np.testing.assert_allclose(q(last), np.broadcast_to(later(actions[:, 0]), (2, 8)), atol=0.15)
    np.testing.assert_allclose(q(first), GAMMA * value, atol=0.12)
    assert q(first).mean() == pytest.approx(GAMMA * value, abs=0.05)
    for seen, wanted_mean, wanted_entropy in (
        (last, mean, entropy),
        (first, *soft_optimum(np.zeros_like(GRID), prior)[1:]),
    ):
        observation = state.normalizer(np.repeat(seen, 500, axis=0))
        action, log_prob, _ = trainer.agent.policy.sample(state.agent.params["actor"], observation, jax.random.key(1))
        assert float(action.mean()) == pytest.approx(wanted_mean, abs=0.12)
        assert -float(log_prob.mean()) == pytest.approx(wanted_entropy, abs=0.12)


def test_the_learned_temperature_is_the_one_of_its_entropy(tiny: Tiny) -> None:
    """Of the policies proportional to exp(r / alpha) one has the wanted entropy; alpha is then the temperature."""
    wanted = soft_optimum(later(GRID), "uniform")[2]
    options = ("algorithm.n_step=1", "algorithm.initial_temperature=0.1", f"algorithm.target_entropy={wanted}")
    rates = ("algorithm.gamma=0.0", "algorithm.temperature_learning_rate=5e-3", "algorithm.learning_rate=4e-3")
    _, state = learn(tiny, "sac_v2", "Once", *options, *rates)
    assert float(np.exp(state.agent.params["log_temperature"])) == pytest.approx(ALPHA, rel=0.15)


CONSTANT_7 = ("env.episode_length=7", "algorithm.gamma=0.9", "algorithm.n_step=3")
BATCH_NORM = ("network.critic_batch_norm=batch", "network.actor_batch_norm=batch", "algorithm.tau=0.005")
RENORM = ("network.critic_batch_norm=renorm", "algorithm.tau=0.005")
SMALL = ("network.actor_block=simba", "network.hidden_sizes=[8]")
VALUES = {
    # Cut every 7 steps, which n-step windows straddle: the value is that of going on for ever.
    "sac_v1 truncated": ("sac_v1", "Constant", CONSTANT_7, 10.0),
    "sac_v2 latent truncated": ("sac_v2", "Constant", (*CONSTANT_7, "policy.kind=latent"), 10.0),
    "sac_v1 random ends": ("sac_v1", "Coin", ("algorithm.gamma=0.9", "env.episode_length=9"), 1 / (1 - 0.9 * 0.75)),
    "sac_v2 random ends": ("sac_v2", "Coin", ("algorithm.gamma=0.9", "env.episode_length=9"), 1 / (1 - 0.9 * 0.75)),
    "sac_v2 far-sighted": ("sac_v2", "Constant", ("algorithm.gamma=0.98", "algorithm.tau=0.2"), 50.0),
    "clipped reward": ("sac_v2", "Constant", ("algorithm.gamma=0.5", "env.reward_clip=0.25"), 0.5),
    "repeated action": ("sac_v1", "Constant", ("algorithm.gamma=0.5", "env.action_repeat=3"), 6.0),
    "layer norm": ("sac_v2", "Constant", ("algorithm.gamma=0.75", "network.critic_layer_norm=true"), 4.0),
    "simba": ("sac_v2", "Constant", ("algorithm.gamma=0.75", "network.critic_block=simba", *SMALL), 4.0),
    "weight norm": ("sac_v1", "Constant", ("algorithm.gamma=0.75", "network.critic_weight_norm=true"), 4.0),
    "batch norm": ("sac_v2", "Constant", ("algorithm.gamma=0.75", *BATCH_NORM), 4.0),
    "batch renorm": ("sac_v2", "Constant", ("algorithm.gamma=0.75", *RENORM), 4.0),
    "unsquashed": ("sac_v2", "Constant", ("algorithm.gamma=0.75", "policy.squash=false"), 4.0),
    "slow target": ("sac_v1", "Constant", ("algorithm.gamma=0.75", "algorithm.target_update_interval=5"), 4.0),
    "16 bits": ("sac_v2", "Constant", ("algorithm.gamma=0.75", "replay.dtype=bfloat16"), 4.0),
}
QUICK = ("sac_v1 truncated", "sac_v2 random ends", "sac_v2 far-sighted")
SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in VALUES if case not in QUICK]


@pytest.mark.parametrize("case", [*QUICK, *SLOW])
def test_values(tiny: Tiny, case: str) -> None:
    algorithm, env, options, value = VALUES[case]
    trainer, state = learn(tiny, algorithm, env, *options)
    seen = np.stack([np.linspace(-0.9, 0.9, 8), np.zeros(8)], axis=1)
    q = q_values(trainer, state, seen, np.linspace(-0.9, 0.9, 8)[::-1, None])
    np.testing.assert_allclose(q, value, rtol=0.2)
    assert q.mean() == pytest.approx(value, rel=0.05)


@pytest.mark.parametrize(("algorithm", "kind"), [("sac_v2", "gmm"), ("sac_v1", "latent")])
def test_two_actions_are_told_apart(tiny: Tiny, algorithm: str, kind: str) -> None:
    trainer, state = learn(tiny, algorithm, "Two", f"policy.kind={kind}")
    seen = np.stack([np.linspace(-1, 1, 9), np.zeros(9)], axis=1)
    np.testing.assert_allclose(mode(trainer, state, seen), np.broadcast_to([0.5, -0.25], (9, 2)), atol=0.15)
