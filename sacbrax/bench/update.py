"""Speed of the gradient step alone, beside what the machine's matrix product allows.

Floating-point operations are counted, not measured: 2 m n k for each matrix product that an update needs and nothing
for the rest, so `fraction_of_matmul` says what part of the machine's rate goes into useful products, and
`fraction_of_own_products` what part of the time products of these very shapes need when nothing is between them.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

from sacbrax import config as config_lib
from sacbrax.bench import products, timing
from sacbrax.bench.hlo import kernels_per_iteration
from sacbrax.cli import COUNT, duration, prepare_jax
from sacbrax.config import ConfigError
from sacbrax.config.named import ALGORITHMS

MATMUL_SIZES = {"cpu": (512, 1024, 2048)}
LARGE_MATMUL_SIZES = (2048, 4096, 8192)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="other settings of the update")
    parser.add_argument("--algorithm", default="sac_v2", choices=ALGORITHMS, help="default sac_v2")
    parser.add_argument("--batch-size", type=COUNT, default=256, help="rows of a minibatch (default 256)")
    parser.add_argument("--hidden", default="256,256", help="widths of the hidden layers (default 256,256)")
    parser.add_argument("--observation-size", type=COUNT, default=8, help="default 8, the swimmer's")
    parser.add_argument("--action-size", type=COUNT, default=2, help="default 2, the swimmer's")
    parser.add_argument("--beside-brax", action="store_true", help="time Brax's gradient step too, by turns with ours")
    parser.add_argument("--beside-plain", action="store_true", help="time it without the settings too, by turns")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count this process's CPU seconds: on a core that others use too"
    )
    parser.add_argument("--repeats", type=COUNT, default=5, help="timed calls (default 5)")
    parser.add_argument("--seconds", type=duration, default=0.5, help="length of a timed call (default 0.5)")


def prepare(args: argparse.Namespace) -> None:
    """Before anything is measured: check the arguments, set up JAX."""
    if args.beside_brax and args.algorithm != "sac_v2":
        raise ConfigError(f"--beside-brax: Brax has sac_v2 alone, not {args.algorithm}")
    if args.beside_brax and args.overrides:
        raise ConfigError(f"--beside-brax: Brax has no such settings as {args.overrides[0]}")
    mapping = {
        "algorithm": {"name": args.algorithm},
        "network": {"hidden_sizes": args.hidden.split(",")},
        "train": {"batch_size": args.batch_size, "exploration_env_steps": max(10_000, args.batch_size)},
        "replay": {"capacity": max(1_000_000, args.batch_size)},
        "run": {"compilation_cache": False},
    }
    args.plain = config_lib.from_mapping(mapping)
    for override in args.overrides:
        config_lib.apply_override(mapping, override)
    args.loaded = config_lib.from_mapping(mapping)
    prepare_jax(args.loaded)


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; the result is printed as one JSON object or by `print_table`."""
    import jax
    import jax.numpy as jnp

    from sacbrax.agents.registry import make_agent, make_hyper
    from sacbrax.bench.work import update_flops
    from sacbrax.training import updates

    config, sizes = args.loaded, (args.observation_size, args.action_size)
    batch_size = config.train.batch_size
    batch = _random_batch(batch_size, *sizes)

    def stepped(config: Any) -> tuple[Any, Any]:
        """The step of a configuration, which is `policy_delay` updates, and the state that it starts from."""
        agent, hyper = make_agent(config, *sizes), make_hyper(config, args.action_size)
        group = config.algorithm.policy_delay
        batches = jax.tree.map(lambda x: jnp.broadcast_to(x, (group, *x.shape)), batch)

        def step(state: Any, i: Any) -> Any:
            key = jax.random.fold_in(jax.random.key(0), i)
            if group == 1:
                return agent.update(state, batch, hyper, key)[0]
            return updates.in_groups(agent, state, (batches, jax.random.split(key, group)), hyper, group)[0]

        return step, jax.jit(agent.init)(jax.random.key(1), hyper)

    clock = time.process_time if args.cpu_time else time.perf_counter
    step, start = stepped(config)
    group = config.algorithm.policy_delay
    own_products = Repeated(*products.alone(step, start, 0), clock)
    ours = Repeated(step, start, clock)
    sides = {"sacbrax": ours, "products": own_products}
    if args.beside_plain:
        sides["plain"] = Repeated(*stepped(args.plain), clock)
    if args.beside_brax:
        from sacbrax.bench import brax_update

        state, brax_step = brax_update.make(config, batch)
        sides["brax"] = Repeated(lambda state, _: brax_step(state), state, clock)
    counts = {name: timing.count_that_takes(args.seconds, side) for name, side in sides.items()}
    large = _products(args.seconds)
    rates: dict[str, list[float]] = {name: [] for name in (*sides, "matmul")}

    def measure(name: str) -> float:
        if name == "matmul":
            return max(operations / timing.seconds(call, clock) for operations, call in large)
        each = group if name in ("sacbrax", "products") else 1  # updates of a step
        return each * counts[name] / timing.seconds(functools.partial(sides[name], counts[name]), clock)

    turns = list(rates)
    for _ in range(args.repeats):  # by turns, so that a busy neighbour slows all
        for name in turns:
            rates[name].append(measure(name))
        turns.reverse()  # who follows the large products finds a slower clock: not always the same

    def ratio_to(other: str) -> dict[str, float]:
        return timing.spread([a / b for a, b in zip(rates["sacbrax"], rates[other], strict=True)])

    beside: dict[str, Any] = {}
    if "plain" in sides:
        beside = {
            "plain_updates_per_second": timing.spread(rates["plain"])["median"],
            "plain_kernels_per_update": sides["plain"].kernels,
            "plain_compile_seconds": sides["plain"].compile_seconds,
            "ratio_to_plain": ratio_to("plain"),
        }
    if "brax" in sides:
        beside |= {
            "brax_updates_per_second": timing.spread(rates["brax"])["median"],
            "brax_kernels_per_update": sides["brax"].kernels,
            "ratio_to_brax": ratio_to("brax"),
        }
    flops = update_flops(config, *sizes)
    rate, matmul_rate = timing.spread(rates["sacbrax"])["median"], timing.spread(rates["matmul"])["median"]
    return {
        "machine": timing.machine(),
        "algorithm": config.algorithm.name,
        "batch_size": batch_size,
        "overrides": args.overrides,
        "clock": "cpu" if args.cpu_time else "wall",
        "hidden_sizes": list(config.network.actor_sizes),
        "critic_hidden_sizes": list(config.network.critic_sizes),
        "compile_seconds": ours.compile_seconds,
        "kernels_per_update": ours.kernels and ours.kernels / group,
        "repeats": args.repeats,
        "updates_per_second": rate,
        "updates_per_second_spread": timing.spread(rates["sacbrax"]),
        "flops_per_update": flops,
        "flops_per_second": flops * rate,
        "matmul_flops_per_second": matmul_rate,
        "fraction_of_matmul": flops * rate / matmul_rate,
        "fraction_of_own_products": ratio_to("products")["median"],
    } | beside


class Repeated:
    """A step as one compiled loop: called with a count, it goes on from where it stopped. `kernels` is None where the
    backend does not show its program."""

    def __init__(self, step: Callable[[Any, Any], Any], state: Any, clock: Callable[[], float] = time.perf_counter):
        import jax
        import jax.numpy as jnp

        def loop(state: Any, count: Any) -> Any:
            return jax.lax.fori_loop(0, count, lambda i, state: step(state, i), state)

        begin = clock()
        self._compiled = jax.jit(loop, donate_argnums=0).lower(state, jnp.int32(1)).compile()
        self.compile_seconds, text = clock() - begin, self._compiled.as_text()
        self.kernels = kernels_per_iteration(text) if text else None
        self._state = state

    def __call__(self, count: int) -> Any:
        import jax.numpy as jnp

        self._state = self._compiled(self._state, jnp.int32(count))
        return self._state


def _random_batch(batch_size: int, observation: int, action: int) -> Any:
    import jax
    import jax.numpy as jnp

    from sacbrax.core.types import Transition

    keys = jax.random.split(jax.random.key(2), 4)
    return Transition(
        observation=jax.random.normal(keys[0], (batch_size, observation)),
        action=jax.random.uniform(keys[1], (batch_size, action), minval=-1.0, maxval=1.0),
        reward=jax.random.normal(keys[2], (batch_size,)),
        discount=jnp.full(batch_size, 0.99),
        next_observation=jax.random.normal(keys[3], (batch_size, observation)),
    )


def matmul_rate(seconds: float, repeats: int) -> float:
    """Operations per second of the machine's own matrix product, the best size's."""
    large = _products(seconds)
    rates = [max(operations / timing.seconds(call) for operations, call in large) for _ in range(repeats)]
    return timing.spread(rates)["median"]


def _products(seconds: float) -> list[tuple[float, Any]]:
    import jax

    return [matmul(size, seconds) for size in MATMUL_SIZES.get(jax.default_backend(), LARGE_MATMUL_SIZES)]


def matmul(size: int, seconds: float) -> tuple[float, Any]:
    """Operations of a call that multiplies square matrices one after another, and the call."""
    import jax
    import jax.numpy as jnp

    matrix = jax.random.normal(jax.random.key(3), (size, size)) / size**0.5  # keeps the length of what it multiplies

    @jax.jit
    def multiply(count: Any) -> Any:
        return jax.lax.fori_loop(0, count, lambda _, x: matrix @ x, matrix)

    count = timing.count_that_takes(seconds / 2, lambda count: multiply(jnp.int32(count)))
    return 2.0 * size**3 * count, lambda: multiply(jnp.int32(count))


def print_table(result: dict[str, Any]) -> None:
    """The result for people."""
    spread = result["updates_per_second_spread"]
    actor, critic = ("x".join(map(str, result[key])) for key in ("hidden_sizes", "critic_hidden_sizes"))
    hidden = actor if actor == critic else f"{actor}, critics {critic}"
    print(f"{result['algorithm']}, batch {result['batch_size']}, hidden {hidden}, {result['machine']['device']}")
    print(*(f"  {override}" for override in result["overrides"]), sep="\n", end="\n" * bool(result["overrides"]))
    print(f"  compile           {result['compile_seconds']:12.1f} s")
    print(f"  kernels           {result['kernels_per_update'] or 'not told':>12} an update")
    print(f"  updates           {result['updates_per_second']:12,.0f} /s   ", end="")
    print(f"({spread['lowest']:,.0f} to {spread['highest']:,.0f} in {result['repeats']} calls)")
    print(f"  useful products   {result['flops_per_second'] / 1e9:12,.1f} GFLOP/s")
    print(f"  matrix product    {result['matmul_flops_per_second'] / 1e9:12,.1f} GFLOP/s")
    print(f"  fraction          {result['fraction_of_matmul']:12.2f}")
    print(f"  of own products   {result['fraction_of_own_products']:12.2f}")
    if "ratio_to_brax" in result:
        ratio = result["ratio_to_brax"]
        print(f"  Brax's updates    {result['brax_updates_per_second']:12,.0f} /s   ", end="")
        print(f"({result['brax_kernels_per_update'] or 'unknown'} kernels an update)")
        print(f"  ours to Brax's    {ratio['median']:12.2f}      ({ratio['lowest']:.2f} to {ratio['highest']:.2f})")
    if "ratio_to_plain" in result:
        ratio = result["ratio_to_plain"]
        print(f"  plain updates     {result['plain_updates_per_second']:12,.0f} /s   ", end="")
        print(f"({result['plain_kernels_per_update'] or 'unknown'} kernels, {result['plain_compile_seconds']:.1f} s)")
        print(f"  ours to plain     {ratio['median']:12.2f}      ({ratio['lowest']:.2f} to {ratio['highest']:.2f})")
