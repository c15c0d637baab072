"""What a GPU will do with a configuration, found without one: XLA's compiler for CUDA compiles for a device that is
only described.

Kernels, graphs, registers and memory are the real compiler's; nothing is timed, and it tunes nothing, for there is no
device to try on. The plugin has a virtual environment of its own, made on first use, beside the packages that run here.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxlib

from sacbrax import config as config_lib
from sacbrax.bench import gpu_program, hlo, virtual_environments
from sacbrax.cli import COUNT, file_first
from sacbrax.core.errors import RunError
from sacbrax.sinks.doing import doing

TARGETS = Path(__file__).parent / "gpu_targets"
ROOT = Path(__file__).parents[2]
ASSEMBLER = "nvidia-cuda-nvcc-cu12==12.9.86"
PROGRAMS = ("advance", "prefill", "evaluate")
FURTHER = 15  # updates more in a vector step, for what one of them takes
LONGEST = 1800.0  # seconds that a compilation may take


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    parser.add_argument("config", nargs="?", default="swimmer", help="YAML file or name, as for train (swimmer)")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values that replace the file's")
    targets = sorted(path.stem for path in TARGETS.glob("*.txtpb"))
    parser.add_argument("--target", choices=targets, default="h100", help="the GPU to compile for (h100)")
    parser.add_argument("--devices", type=COUNT, default=1, help="how many of them, on one machine (1)")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS, help="which (all)")
    parser.add_argument("--further", action="store_true", help=f"kernels of a further update, from {FURTHER} of them")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep XLA's texts in this folder")


def prepare(args: argparse.Namespace) -> None:
    """Mistakes in the configuration are found before anything is installed."""
    config, args.overrides = file_first(args.config, args.overrides)
    args.config = config or "swimmer"
    args.loaded = config_lib.load(args.config, args.overrides)


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Each program in a process of its own: the plugin without a driver complains on import, and more than once."""
    try:
        python = environment()
    except RuntimeError as error:
        raise RunError(f"gpu-plan: JAX's plugin for CUDA cannot be installed: {error}") from None
    wanted = {name: (name, args.overrides) for name in args.programs}
    further = args.further and "advance" in wanted
    if further:
        more = f"train.updates_per_step={args.loaded.train.updates_per_step + FURTHER}"
        wanted["advance, more updates"] = "advance", [*args.overrides, more]
    results = {}
    for name, (program, overrides) in wanted.items():
        with doing(f"compiling {name} for {args.target}"), _folder(args.keep, name) as out:
            job = {"config": args.config, "overrides": overrides, "program": program, "out": str(out)}
            job |= {"target": str(TARGETS / f"{args.target}.txtpb"), "devices": args.devices}
            try:
                results[name] = plan(python, job)
            except RuntimeError as error:
                raise RunError(f"gpu-plan: {name} is not compiled: {error}") from None
    more_updates = results.pop("advance, more updates", None)
    asked = {name: getattr(args, name) for name in ("config", "overrides", "target", "devices")}
    result = asked | {"programs": results}
    if more_updates is not None:
        result["kernels_per_further_update"] = (more_updates["kernels"] - results["advance"]["kernels"]) / FURTHER
    return result | {"jaxlib": jaxlib.__version__}


def environment() -> str:
    """The interpreter of the environment with the plugin of this jaxlib's version. RuntimeError if it cannot be had."""
    version = jaxlib.__version__
    packages = [f"jax-cuda12-plugin=={version}", f"jax-cuda12-pjrt=={version}", ASSEMBLER]
    return virtual_environments.environment("gpu_plan", "\n".join(packages), ["--no-deps", *packages])


def plan(python: str, job: dict[str, Any]) -> dict[str, Any]:
    """What one program is compiled to. RuntimeError says why it is not."""
    out = Path(job["out"])
    name = f"jit_{job['program']}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={out} --xla_dump_hlo_module_re={name} "
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])  # the plugin's beside the packages that run here
    env = os.environ | {"PYTHONPATH": path, "XLA_FLAGS": f"{flags} --xla_dump_hlo_as_text", "JAX_PLATFORMS": "cpu"}
    words = [python, "-m", "sacbrax.bench.gpu_compile", json.dumps(job)]
    facts = json.loads(virtual_environments.command(words, timeout=LONGEST, env=env).splitlines()[-1])
    text = (out / "program.txt").read_text(encoding="utf-8")
    (thunks,) = out.glob(f"*{name}.thunk_sequence_after_thunk_passes.txt")
    registers, spills = gpu_program.registers_and_spills(assembled(python, sorted(out.glob("*.ptx"))))
    return {
        "kernels": hlo.kernels_per_iteration(text),
        "kernels_by_part": gpu_program.kernels_by_part(text),
        "collectives": gpu_program.collectives(text),
        **gpu_program.graphs_and_loops(thunks.read_text(encoding="utf-8")),
        "registers": registers,
        "spilled_bytes": spills,
        **facts,
    }


def assembled(python: str, sources: list[Path]) -> str:
    """What the assembler says of kernels, file by file."""
    (assembler,) = Path(python).parents[1].glob("lib/python*/site-packages/nvidia/cuda_nvcc/bin/ptxas")
    reports = []
    for source in sources:
        text = source.read_text(encoding="utf-8")
        target = text[text.index(".target ") :].split(None, 2)[1].rstrip(",")
        words = [str(assembler), "-v", f"-arch={target}", str(source), "-o", os.devnull]
        reports.append(subprocess.run(words, capture_output=True, text=True, check=True).stderr)
    return "\n".join(reports)


@contextlib.contextmanager
def _folder(keep: Path | None, name: str) -> Iterator[Path]:
    """Where XLA writes its texts: an empty folder of the user's, or one for the moment."""
    if keep is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder = (keep / name.replace(", ", "_").replace(" ", "_")).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder


def print_table(result: dict[str, Any]) -> None:
    """A line for each program, and its kernels by what they are for."""
    print(f"{result['config']} {' '.join(result['overrides'])} for {result['target']}, jaxlib {result['jaxlib']}")
    columns = ("kernels", "graphs", "host_loops", "outside_graphs", "registers", "spilled_bytes")
    print(f"{'program':9} " + " ".join(f"{column:>14}" for column in columns) + f" {'temporary MiB':>14}")
    for name, row in result["programs"].items():
        cells = " ".join(f"{row[column]:14,}" for column in columns)
        print(f"{name:9} {cells} {row['temporary_bytes'] / 2**20:14,.1f}")
    for name, row in result["programs"].items():
        parts = ", ".join(f"{part} {count}" for part, count in row["kernels_by_part"].items())
        print(f"kernels of a step of {name}: {parts}")
    if "kernels_per_further_update" in result:
        print(f"kernels of a further update in a vector step: {result['kernels_per_further_update']:.0f}")
