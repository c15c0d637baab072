"""The compiled programs of a run: the trainer's functions, each jitted once, mapped over seeds, shards and devices.

The one place that knows how many agents train side by side and on what. From the inside out, a function of one shard of
one agent becomes

    vmap over the shards of a device     axis LANE, if there are several
    vmap over the seeds of a device      if there are several
    shard_map over the devices           axis DEVICE, if there are several

and one program of whole arrays. An array of the training state has a leading axis [S] for S > 1 seeds, then, if it
belongs to a shard, an axis [D] for D > 1 shards.
"""

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sacbrax.agents.hyperparameters import Hyper
from sacbrax.core.errors import ConfigError
from sacbrax.core.types import Key
from sacbrax.engines.batched import as_one_kernel
from sacbrax.envs import compiler_options, engine_of
from sacbrax.parallel import processes
from sacbrax.parallel.shards import DEVICE, LANE
from sacbrax.training.plan import Plan
from sacbrax.training.trainer import Trainer, TrainState
from sacbrax.xla.compiler_options import one_graph, quick
from sacbrax.xla.one_kernel import has_triton

# What an argument or a result of the trainer is: a training state, another value of one agent, the traced numbers of
# its configuration, or the same for all.
STATE, AGENT, NUMBERS, COMMON = "state", "agent", "numbers", "common"

# Exploration of at most so many environment steps is over sooner than XLA would have compiled it well: compiled fast,
# MJX's half-cheetah on a CPU explores 10,000 steps in 16 s for 9 s, and is compiled in 5 s for 18 s.
BRIEF = 30_000


class Programs:
    """The compiled functions of a run, one compilation each; with S > 1 seeds every function maps over axis [S], and
    with `own_numbers` the hyperparameters have that axis too.

    The training state is donated: replay exists once, and a state passed in is gone afterwards.
    """

    def __init__(self, trainer: Trainer, num_seeds: int = 1, plan: Plan | None = None, own_numbers: bool = False):
        self.num_seeds, self.own_numbers = num_seeds, own_numbers
        self.plan = plan or Plan(devices=(jax.devices()[0],))
        if plan is not None and plan.shards != trainer.shards:
            raise ValueError(f"the trainer has {trainer.shards}, the plan {self.plan.shards}")
        self.mesh = Mesh(np.array(self.plan.devices), (DEVICE,)) if len(self.plan.devices) > 1 else None
        self._options = compiler_options(trainer.env)
        if trainer.config.run.gpu_graph and self.plan.devices[0].platform == "gpu":
            self._options = self._options | one_graph()
        self._one_kernel = trainer.config.run.gpu_kernel and has_triton(self.plan.devices[0])
        if self._one_kernel and (engine := engine_of(trainer.config.env)) != "fused":
            raise ConfigError(f"run.gpu_kernel: for env.engine=fused, not {engine}; set it to false")
        compiled = self._compiled
        brief_exploration = trainer.config.train.exploration_env_steps <= BRIEF
        self.init = compiled(trainer.init, (AGENT, NUMBERS), STATE, brief=True)
        self.prefill = compiled(trainer.prefill, (STATE, NUMBERS), STATE, donate=(0,), brief=brief_exploration)
        self.advance = compiled(trainer.advance, (STATE, AGENT, NUMBERS, COMMON), (STATE, AGENT), donate=(0, 1))
        self.refresh = compiled(trainer.refresh, (STATE,), STATE, donate=(0,), brief=True)
        self.zero_sums = compiled(trainer.zero_sums, (STATE,), AGENT)
        self.evaluate = compiled(trainer.evaluate, (STATE, AGENT), AGENT)
        self.diagnose = compiled(trainer.diagnose, (STATE, NUMBERS, AGENT), AGENT, brief=True)

    def keys(self, seed: int) -> tuple[Key, Key]:
        """Training and evaluation keys of seeds seed, seed + 1, ...: [] each for one seed, else [S]."""
        seeds = (np.uint64(seed) + np.arange(self.num_seeds, dtype=np.uint64)).astype(np.uint32)
        pairs = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds)  # [S, 2]
        train, evaluate = (pairs[0 if self.num_seeds == 1 else slice(None), which] for which in range(2))
        return self.place(train, AGENT), self.place(evaluate, AGENT)

    def compile(
        self, wanted: Mapping[str, tuple[Any, ...]], done: Callable[[str], None] = lambda name: None
    ) -> dict[str, Any]:
        """The functions named, for arguments like these: one is traced while XLA, outside Python's lock, compiles
        others. `done` hears of each that is compiled, in a thread."""

        def finish(name: str, program: Any) -> Any:
            compiled = program.compile()
            done(name)
            return compiled

        pool = ThreadPoolExecutor()
        try:
            jobs = {}
            for name, arguments in wanted.items():
                jobs[name] = pool.submit(finish, name, getattr(self, name).lower(*arguments))
            return {name: job.result() for name, job in jobs.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a signal does not wait for the compiler

    def place(self, tree: Any, kind: str) -> Any:
        """Values that every process has, as arrays of all of them; with one process they are that already."""
        if self.mesh is None or not processes.several():
            return tree
        sharding = NamedSharding(self.mesh, self._specs()[kind])

        def put(x: Any) -> Any:
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                data, kind = np.asarray(jax.random.key_data(x)), jax.random.key_impl(x)
                wrap = functools.partial(jax.random.wrap_key_data, impl=kind)
                return jax.jit(wrap, out_shardings=sharding)(data)
            return jax.make_array_from_callback(x.shape, sharding, lambda index: np.asarray(x)[index])

        return jax.tree.map(put, tree)

    def _compiled(
        self,
        function: Callable,
        inputs: tuple[str, ...],
        output: Any,
        donate: tuple[int, ...] = (),
        brief: bool = False,
    ) -> Any:
        """Jitted and mapped; on a CPU what runs but for a moment, `brief`, is compiled fast instead of well."""
        plan, num_seeds, options = self.plan, self.num_seeds, self._options
        if self._one_kernel:
            function = as_one_kernel()(function)
        if brief and plan.devices[0].platform == "cpu":
            options = options | quick()
        if plan.shards.count > 1:  # what is alike on all shards must come out alike: vmap refuses anything else
            lane = {STATE: _by_shard(0, None), AGENT: None, NUMBERS: None, COMMON: None}
            function = _map(function, plan.shards.lanes, _pick(lane, inputs), _pick(lane, output), axis_name=LANE)
        if num_seeds > 1:
            seed = {STATE: 0, AGENT: 0, NUMBERS: 0 if self.own_numbers else None, COMMON: None}
            function = _map(function, plan.seeds_per_device(num_seeds), _pick(seed, inputs), _pick(seed, output))
        if self.mesh is None:
            return jax.jit(function, donate_argnums=donate, compiler_options=options)
        in_specs, out_specs = _pick(self._specs(), inputs), _pick(self._specs(), output)
        # The gradients of replicated parameters are averaged by `Shards`, not by the transposition of shard_map.
        mapped = jax.shard_map(function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
        place = functools.partial(jax.tree.map, functools.partial(NamedSharding, self.mesh))
        return jax.jit(
            mapped,
            in_shardings=place(in_specs),
            out_shardings=place(out_specs),
            donate_argnums=donate,
            compiler_options=options,
        )

    def _specs(self) -> dict[str, Any]:
        """Where each kind of value lies on the mesh."""
        everywhere, spread = PartitionSpec(), PartitionSpec(DEVICE)
        if self.plan.over_seeds:
            numbers = spread if self.own_numbers else everywhere
            return {STATE: spread, AGENT: spread, NUMBERS: numbers, COMMON: everywhere}
        mine = PartitionSpec(None, DEVICE) if self.num_seeds > 1 else spread
        return {STATE: _by_shard(mine, everywhere), AGENT: everywhere, NUMBERS: everywhere, COMMON: everywhere}

    def shapes(self, keys: Key, hyper: Hyper) -> dict[str, Any]:
        """{"state": TrainState, "sums": ...} as shapes that know their devices: what a checkpoint restores."""
        state = jax.eval_shape(self.init, keys, hyper)
        tree = {"state": state, "sums": jax.eval_shape(self.zero_sums, state)}
        mesh = self.mesh
        if mesh is None:
            return tree
        specs = {"state": self._specs()[STATE], "sums": self._specs()[AGENT]}

        def place(spec: PartitionSpec, part: Any) -> Any:
            sharding = NamedSharding(mesh, spec)
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), part)

        return jax.tree.map(place, specs, tree)


def fetch(tree: Any) -> Any:
    """Whole arrays on the host, in every process."""

    def whole(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return jax.device_get(x)
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(whole, tree)


def filled(like: jax.Array, value: float) -> jax.Array:
    """An array as `like`, also in where it lies, of one value."""
    whole = np.full(like.shape, value, like.dtype)
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: whole[index])


def _by_shard(own: Any, common: Any) -> Any:
    """A training state's prefix tree: `own` where an array belongs to a shard, else `common`."""
    return TrainState(
        agent=common,
        replay=own,
        env=own,
        normalizer=common,
        key=common,
        iteration=common,
        return_scale=own,
        prior=own,
        policy_average=common,
    )


def _pick(meaning: dict[str, Any], kinds: Any) -> Any:
    return meaning[kinds] if isinstance(kinds, str) else tuple(meaning[kind] for kind in kinds)


def _map(function: Callable, size: int, in_axes: tuple[Any, ...], out_axes: Any, axis_name: str | None = None) -> Any:
    """`vmap`, but one alone is not mapped: its axis of length 1 is taken off, so that it computes as if by itself."""
    if size > 1:
        return jax.vmap(function, in_axes=in_axes, out_axes=out_axes, axis_size=size, axis_name=axis_name)

    @functools.wraps(function)  # whose name the program has
    def alone(*args: Any) -> Any:
        results = function(*_leading(lambda x: x[0], args, in_axes))
        return _leading(lambda x: x[None], results, out_axes)

    return alone


def _leading(change: Callable, tree: Any, axes: Any) -> Any:
    """`change` on every leaf that has a mapped leading axis by the prefix tree `axes` of 0 and None."""
    return jax.tree.map(
        lambda axis, part: part if axis is None else jax.tree.map(change, part),
        axes,
        tree,
        is_leaf=lambda x: x is None,
    )
