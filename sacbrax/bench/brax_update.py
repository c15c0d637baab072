"""The gradient step of Brax's SAC, from Brax's own networks and losses, to be timed by turns with ours.

Two programs of one process share whatever the machine does at the moment, which two runs of a benchmark do not.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sacbrax.config import Config
from sacbrax.core.types import Transition
from sacbrax.engines.upstream import as_brax_needs, quiet

with quiet():
    from brax.training import gradients, types
    from brax.training.agents.sac import losses, networks


def make(config: Config, batch: Transition) -> tuple[Any, Callable[[Any], Any]]:
    """Fresh state, and the step from state to state on `batch` [B, ...]: temperature, critics, actor, then the target,
    with an Adam for each, as `brax.training.agents.sac.train` does it."""
    rate, tau, gamma = config.algorithm.learning_rate, config.algorithm.tau, config.algorithm.gamma
    observation_size, action_size = batch.observation.shape[-1], batch.action.shape[-1]
    with as_brax_needs():
        network: Any = networks.make_sac_networks(
            observation_size, action_size, hidden_layer_sizes=config.network.hidden_sizes
        )
        made = losses.make_losses(network, reward_scaling=1.0, discounting=gamma, action_size=action_size)
    adam = optax.adam(rate)
    move_alpha, move_critic, move_actor = (
        gradients.gradient_update_fn(loss, adam, pmap_axis_name=None) for loss in made
    )
    transitions = types.Transition(
        observation=batch.observation,
        action=batch.action,
        reward=batch.reward,
        discount=jnp.ones_like(batch.reward),
        next_observation=batch.next_observation,
        extras={"state_extras": {"truncation": jnp.zeros_like(batch.reward)}, "policy_extras": {}},
    )

    def step(state: dict[str, Any]) -> dict[str, Any]:
        key, alpha_key, critic_key, actor_key = jax.random.split(state["key"], 4)
        actor, critic, target, log_alpha = state["actor"], state["critic"], state["target"], state["log_alpha"]
        alpha = jnp.exp(log_alpha)
        with as_brax_needs():
            _, new_log_alpha, alpha_moments = move_alpha(
                log_alpha, actor, None, transitions, alpha_key, optimizer_state=state["alpha_moments"]
            )
            _, new_critic, critic_moments = move_critic(
                critic, actor, None, target, alpha, transitions, critic_key, optimizer_state=state["critic_moments"]
            )
            _, new_actor, actor_moments = move_actor(
                actor, None, critic, alpha, transitions, actor_key, optimizer_state=state["actor_moments"]
            )
        return {
            "actor": new_actor,
            "critic": new_critic,
            "target": jax.tree.map(lambda old, new: old * (1 - tau) + new * tau, target, new_critic),
            "log_alpha": new_log_alpha,
            "alpha_moments": alpha_moments,
            "critic_moments": critic_moments,
            "actor_moments": actor_moments,
            "key": key,
        }

    def init(key: Any) -> dict[str, Any]:
        actor_key, critic_key, key = jax.random.split(key, 3)
        with as_brax_needs():
            actor, critic = network.policy_network.init(actor_key), network.q_network.init(critic_key)
        log_alpha = jnp.zeros(())
        return {
            "actor": actor,
            "critic": critic,
            "target": jax.tree.map(jnp.copy, critic),  # a copy in memory too: the state is donated
            "log_alpha": log_alpha,
            "alpha_moments": adam.init(log_alpha),
            "critic_moments": adam.init(critic),
            "actor_moments": adam.init(actor),
            "key": key,
        }

    return jax.jit(init)(jax.random.key(1)), step
