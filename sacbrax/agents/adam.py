"""Adam (arXiv:1412.6980) that can be told to leave everything as it is, without a copy of what it leaves.

optax's state and its numbers. Written out because a selection between new and old arrays, after the step, makes XLA
keep both: every parameter, moment and target was copied in every update. Here the selection enters the arithmetic, so
that each array is updated where it lies. Knows no losses and no networks.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sacbrax.core.types import Array, Params

EPSILON = 1e-8
State = Any  # optax.ScaleByAdamState, which optax does not type


class Settings(NamedTuple):
    """What all groups share."""

    b1: float = 0.9  # of the mean gradient kept from step to step
    b2: float = 0.999  # and of the mean square
    weight_decay: Array | None = None  # decoupled (AdamW, arXiv:1711.05101), [] per step of rate 1; of matrices alone


PLAIN = Settings()


def init(params: dict[str, Params], own_counts: bool = False) -> State:
    """Moments of zero, and a count of steps: one, or where groups may rest, one of each group by its name."""
    mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))  # two leaves may not share one buffer
    count: Any = {name: jnp.zeros((), jnp.int32) for name in params} if own_counts else jnp.zeros((), jnp.int32)
    return optax.ScaleByAdamState(count=count, mu=mu, nu=nu)


def step(
    params: dict[str, Params],
    grads: dict[str, Params],
    state: State,
    rates: dict[str, Array],
    applied: Array,
    settings: Settings = PLAIN,
) -> tuple[dict[str, Params], State]:
    """One step of every group at its own rate where `applied`, bool []; else the same numbers.

    Groups without gradients rest, which needs counts of their own.
    """
    b1, b2, decay = settings
    names = [name for name in params if name in grads]
    # Without axes of one, for shapes that differ in those alone are one kernel on a GPU.
    old, grads, old_mu, old_nu = (
        {name: jax.tree.map(jnp.squeeze, tree[name]) for name in names} for tree in (params, grads, state.mu, state.nu)
    )
    counts = {name: state.count[name] + applied for name in names} if isinstance(state.count, dict) else None
    count: Any = state.count + applied if counts is None else {**state.count, **counts}

    def moment(old: Array, new: Array, decay: float) -> Array:
        # x + 0 (0 - x) is x itself, and a gradient that is not finite does not enter.
        return old + jnp.where(applied, 1.0 - decay, 0.0) * (jnp.where(applied, new, 0.0) - old)

    def scales(count: Array) -> tuple[Array, Array]:
        """Of moments that began at zero."""
        steps = jnp.maximum(count, 1)  # a skipped first update divides by no zero
        return 1.0 / (1.0 - b1**steps), 1.0 / (1.0 - b2**steps)

    mu = jax.tree.map(lambda m, g: moment(m, g, b1), old_mu, grads)
    nu = jax.tree.map(lambda v, g: moment(v, g * g, b2), old_nu, grads)
    if counts is None:
        scale = dict.fromkeys(names, scales(count))
    else:
        scale = {name: scales(own) for name, own in counts.items()}

    def move(name: str) -> Params:
        group, m, v, rate = old[name], mu[name], nu[name], rates[name]
        mean_scale, square_scale = scale[name]
        rate = jnp.where(applied, rate, 0.0)
        alike: dict[tuple[int, ...], list[Array]] = {}
        for p in jax.tree.leaves(group):
            alike.setdefault(p.shape, []).append(p)
        shared = {shape: _spread(rate, some[0]) for shape, some in alike.items() if len(some) > 1}

        def one(p: Array, m: Array, v: Array) -> Array:
            return p - shared.get(p.shape, rate) * (m * mean_scale / (jnp.sqrt(v * square_scale) + EPSILON))

        if decay is None:
            return jax.tree.map(one, group, m, v)

        def held_back(path: Any, p: Array, m: Array, v: Array) -> Array:
            return one(p, m, v) - rate * decay * p if path and path[-1].key == "kernel" else one(p, m, v)

        return jax.tree_util.tree_map_with_path(held_back, group, m, v)

    def as_they_were(moved: dict[str, Params], all_of: dict[str, Params]) -> dict[str, Params]:
        return {**all_of, **{name: jax.tree.map(_shaped_like, moved[name], all_of[name]) for name in names}}

    moved = as_they_were({name: move(name) for name in names}, params)
    mu, nu = as_they_were(mu, state.mu), as_they_were(nu, state.nu)
    return moved, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)


def _shaped_like(x: Array, old: Array) -> Array:
    return x.reshape(old.shape)


def _spread(rate: Array, like: Array) -> Array:
    """A rate [] as an array, which on a GPU all parameters of that shape make of one of them: XLA makes one kernel of
    several arrays' steps only if they share more than scalars. Where that parameter is NaN its rate is too."""

    def everywhere(rate: Array, like: Array) -> Array:
        return jnp.broadcast_to(rate, like.shape)

    def where_sound(rate: Array, like: Array) -> Array:
        return jnp.where(like == like, rate, like)

    return jax.lax.platform_dependent(rate, like, cpu=everywhere, default=where_sound)
