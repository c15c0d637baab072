"""The losses as pure functions of arrays, each citing its equation. No networks, no keys, no optimizer.

Symbols: B minibatch rows, E critics. [SAC] is arXiv:1801.01290, [SAC2] is arXiv:1812.05905. Everything that is a
target is a constant here: gradients stop at it inside the loss, so a caller cannot forget.
"""

import jax
import jax.numpy as jnp

from sacbrax.core.types import Array

stop = jax.lax.stop_gradient


def td_target(reward: Array, discount: Array, next_value: Array, reward_scale: Array) -> Array:
    """y = c r + gamma^m (1 - d) V(s'), [SAC] eq. 8; `discount` carries gamma and termination. All [B] -> [B]."""
    _ranks(1, reward, discount, next_value)
    return reward_scale * reward + discount * next_value


def critic_loss(q: Array, target: Array) -> Array:
    """sum_i 1/2 mean (Q_i(s, a) - y)^2, [SAC] eq. 7. q [E, B], target [B] -> []. Each critic has its own term."""
    _ranks(2, q)
    _ranks(1, target)
    return jnp.sum(0.5 * jnp.mean((q - stop(target)[None, :]) ** 2, axis=1))


def value_loss(value: Array, min_q: Array, log_prob: Array, log_prior: Array) -> Array:
    """1/2 mean (V(s) - (min Q(s, a~) - log pi + log prior))^2, [SAC] eq. 5. All [B] -> []."""
    _ranks(1, value, min_q, log_prob, log_prior)
    return 0.5 * jnp.mean((value - stop(min_q - log_prob + log_prior)) ** 2)


def actor_loss(q: Array, log_prob: Array, log_prior: Array, temperature: Array) -> Array:
    """mean(alpha (log pi(a~|s) - log prior) - Q(s, a~)), [SAC] eq. 12, [SAC2] eq. 7, reparameterized: gradients
    reach the actor through a~. All [B], temperature [] -> []."""
    _ranks(1, q, log_prob, log_prior)
    return jnp.mean(stop(temperature) * (log_prob - log_prior) - q)


def likelihood_ratio_loss(q: Array, log_prob: Array, log_prior: Array, temperature: Array, baseline: Array) -> Array:
    """mean(log pi(a~|s) (alpha (log pi - log prior) - Q + baseline)), the score function's gradient of `actor_loss`:
    a~ and the bracket are constants. The baseline may depend on s alone; [SAC] takes V(s). All [B] -> []."""
    _ranks(1, q, log_prob, log_prior, baseline)
    return jnp.mean(log_prob * stop(temperature * (log_prob - log_prior) - q + baseline))


def temperature_loss(log_temperature: Array, log_prob: Array, target_entropy: Array) -> Array:
    """-log alpha mean(log pi + target entropy), [SAC2] eq. 18 on log alpha. log_prob [B], the others [] -> []."""
    _ranks(1, log_prob)
    return -log_temperature * stop(jnp.mean(log_prob) + target_entropy)


def _ranks(rank: int, *arrays: Array) -> None:
    """A wrong rank would broadcast silently into a wrong mean."""
    for array in arrays:
        if array.ndim != rank:
            raise ValueError(f"expected rank {rank}, got shape {array.shape}")
