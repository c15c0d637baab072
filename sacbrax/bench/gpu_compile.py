"""Compile one program of a configuration for a GPU that is not there: `python -m sacbrax.bench.gpu_compile JOB`.

JOB is JSON: config, overrides, target (a file that describes a GPU), devices (how many of them), program, out (a
folder). Run by `gpu_plan` in an environment that has JAX's plugin for CUDA, with XLA told to write what it makes into
`out`; adds program.txt there, the optimized program, and prints what is known beside it as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from sacbrax import config as config_lib
from sacbrax.training.plan import Plan
from sacbrax.training.programs import Programs
from sacbrax.training.trainer import Trainer


def compile_for(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds of compilation and bytes of memory; the program's text goes to a file."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_traceback_in_locations_limit", -1)
    target = Path(job["target"]).read_text(encoding="utf-8")
    one_host = f"1x1x{job['devices']}"
    devices = topologies.get_topology_desc(platform="cuda", target_config=target, topology=one_host).devices
    config = config_lib.load(job["config"], [*job["overrides"], "parallel.devices=all"])
    plan = Plan.of(config, there=devices)
    trainer, seeds = Trainer(config, plan.shards), config.train.num_seeds
    vars(trainer)["_step"] = trainer.train_step  # what is inlined has its caller for its place in the source
    programs = Programs(trainer, seeds, plan)
    # With several devices the programs themselves say what lies where.
    place = {} if len(devices) > 1 else {"sharding": SingleDeviceSharding(devices[0])}

    def there(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, **place), tree)

    keys = there(jax.eval_shape(lambda: programs.keys(0)[0]))
    hyper = there(trainer.hyper())
    state = there(jax.eval_shape(programs.init, keys, hyper))
    arguments: dict[str, tuple[Any, ...]] = {
        "advance": (state, there(jax.eval_shape(programs.zero_sums, state)), hyper, there(np.zeros((), np.int32))),
        "prefill": (state, hyper),
        "evaluate": (state, keys),
    }
    lowered = getattr(programs, job["program"]).lower(*arguments[job["program"]])
    begin = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - begin
    (Path(job["out"]) / "program.txt").write_text(compiled.as_text(), encoding="utf-8")
    memory = compiled.memory_analysis()
    return {"compile_seconds": seconds, "temporary_bytes": memory.temp_size_in_bytes}


if __name__ == "__main__":
    print(json.dumps(compile_for(json.loads(sys.argv[1]))))
