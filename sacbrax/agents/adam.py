"""Adam (arXiv:1412.6980) that can be told to leave everything as it is, without a copy of what it leaves.

optax's state and its numbers. Written out because a selection between new and old arrays, after the step, makes XLA
keep both: every parameter, moment and target was copied in every update. Here the selection enters the arithmetic, so
that each array is updated where it lies. Knows no losses and no networks.
"""

import functools
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sacbrax.core.types import Array, Params

B1, B2, EPSILON = 0.9, 0.999, 1e-8
State = Any  # optax.ScaleByAdamState, which optax does not type


def init(params: Any) -> State:
    """Moments of zero."""
    mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))  # two leaves may not share one buffer
    return optax.ScaleByAdamState(count=jnp.zeros((), jnp.int32), mu=mu, nu=nu)


def step(
    params: dict[str, Params], grads: dict[str, Params], state: State, rates: dict[str, Array], applied: Array
) -> tuple[dict[str, Params], State]:
    """One step of every group at its own rate where `applied`, bool []; else the same numbers."""
    count = state.count + applied
    steps = jnp.maximum(count, 1)  # a skipped first update divides by no zero

    def moment(old: Array, new: Array, decay: float) -> Array:
        # x + 0 (0 - x) is x itself, and a gradient that is not finite does not enter.
        return old + jnp.where(applied, 1.0 - decay, 0.0) * (jnp.where(applied, new, 0.0) - old)

    mu = jax.tree.map(lambda m, g: moment(m, g, B1), state.mu, grads)
    nu = jax.tree.map(lambda v, g: moment(v, g * g, B2), state.nu, grads)
    mean_scale, square_scale = 1.0 / (1.0 - B1**steps), 1.0 / (1.0 - B2**steps)  # of moments that began at zero

    def move(group: Params, m: Params, v: Params, rate: Array) -> Params:
        rate = jnp.where(applied, rate, 0.0)
        shapes = Counter(x.shape for x in jax.tree.leaves(group))
        shared = {shape: _spread(rate, shape) for shape, count in shapes.items() if count > 1}

        def moved(p: Array, m: Array, v: Array) -> Array:
            return p - shared.get(p.shape, rate) * (m * mean_scale / (jnp.sqrt(v * square_scale) + EPSILON))

        return jax.tree.map(moved, group, m, v)

    params = {name: move(group, mu[name], nu[name], rates[name]) for name, group in params.items()}
    return params, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)


def _spread(rate: Array, shape: tuple[int, ...]) -> Array:
    """A rate [] as an array, which on a GPU exists and is read by all parameters of that shape: XLA makes one kernel of
    several arrays' steps only if they share more than scalars."""
    spread = functools.partial(jnp.broadcast_to, shape=shape)

    def there(rate: Array) -> Array:
        return jax.lax.optimization_barrier(spread(rate))

    return jax.lax.platform_dependent(rate, cpu=spread, default=there)
