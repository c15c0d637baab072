"""Everything that is wanted of a GPU by one command: parts with a time limit each, the most wanted first.

`gpu.json` is written after every part, so that a kill at any time loses at most the one that runs, and the same command
goes on with those that are left. This process uses no device: a part has the whole one.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sacbrax.bench import gpu_tables
from sacbrax.bench.gpu_parts import PARTS, ROOT, Part
from sacbrax.cli import duration
from sacbrax.config import ConfigError
from sacbrax.core.errors import RunError, last_line
from sacbrax.core.files import lock, write_atomically
from sacbrax.core.machine import git_revision
from sacbrax.core.signals import Interrupt
from sacbrax.sinks.doing import doing

RESULTS, LOG = "gpu.json", "log.txt"
WORTH = 0.5  # of a part's limit: with less of the budget left it is not begun
PATIENCE = 4  # times that limit have the parts of a trial: a CPU that compiles may have other work
COUNTED = re.compile(r"(\d+) (passed|failed|skipped|error)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's options."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="DIR", help=f"measure; {RESULTS} and {LOG} are kept there")
    where.add_argument("--from", type=Path, metavar="DIR", dest="source", help="the tables of what was measured there")
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="with --from: put them into this page, docs/benchmarks.md"
    )
    parser.add_argument("--budget", type=duration, default=540.0, metavar="SECONDS", help="for all (default 540)")
    parser.add_argument("--parts", nargs="+", metavar="PART", help=f"of {', '.join(part.name for part in PARTS)} (all)")
    parser.add_argument("--again", action="store_true", help="also what is there already, or failed")
    parser.add_argument("--small", action="store_true", help="a trial that measures nothing, on a CPU too")


def prepare(args: argparse.Namespace) -> None:
    """Mistakes are found before anything runs."""
    names = [part.name for part in PARTS]
    for name in args.parts or ():
        if name not in names:
            raise ConfigError(f"--parts: {name}: unknown; choose from {', '.join(names)}")
    if args.into is not None and args.source is None:
        raise ConfigError("--into: needs --from, the directory of what was measured")
    args.found = read(args.out or args.source)
    if args.out is not None and any(record["small"] != args.small for record in args.found.values()):
        raise ConfigError(
            f"--out: {args.out} holds {'measurements' if args.small else 'a trial (--small)'}; choose another"
        )


def read(directory: Path) -> dict[str, Any]:
    """The parts that are there, by name; none where nothing was measured yet. Raises ConfigError for what is none."""
    try:
        return dict(json.loads((directory / RESULTS).read_text(encoding="utf-8"))["parts"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{directory / RESULTS}: not what this command writes: {error}") from None


def main(args: argparse.Namespace) -> dict[str, Any]:
    """All that is known, old and new."""
    if args.source is not None:
        section = gpu_tables.section(args.found)
        if args.into is not None:
            gpu_tables.put(args.into, section)
        return {"section": section, "parts": args.found}
    args.out.mkdir(parents=True, exist_ok=True)
    with lock(args.out, "--out"), (args.out / LOG).open("a", encoding="utf-8") as log:
        return {"parts": measure(args, args.found, log)}


def measure(args: argparse.Namespace, found: dict[str, Any], log: IO[str]) -> dict[str, Any]:
    """Adds to `found` what the budget allows. Raises `RunError` where there is no GPU."""
    end, device, commit = time.monotonic() + args.budget, driver(), git_revision()
    for part in PARTS:
        if (args.parts and part.name not in args.parts) or (part.name in found and not args.again):
            continue
        left = end - time.monotonic()
        if left < WORTH * part.limit:
            print(f"{part.name}: left for a further call, {max(left, 0):.0f} s are too few", flush=True)
            continue
        limit = part.limit * (PATIENCE if args.small else 1)
        words = [sys.executable, "-m", *(part.small if args.small else part.words)]
        shown = shlex.join(["python", *words[1:]])
        record = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit, "driver": device}
        begin = time.monotonic()
        with doing(part.name):
            outcome = run(part, words, min(limit, left), log)
        if "error" in outcome and outcome.get("late") and left < limit:
            print(
                f"{part.name}: left for a further call, it was not done in the {left:.0f} s that were left", flush=True
            )
            continue
        if not args.small:
            refuse_cpu(outcome)
        found[part.name] = (
            record | {"seconds": time.monotonic() - begin, "command": shown, "small": args.small} | outcome
        )
        write_atomically(args.out / RESULTS, json.dumps({"parts": found}, indent=1) + "\n")
        print(f"{part.name}: {outcome.get('error', 'done')}", flush=True)
    return found


def run(part: Part, words: list[str], seconds: float, log: IO[str]) -> dict[str, Any]:
    """`result` of a part, or the `error` that ended it. It has a process group of its own, of which nothing is left."""
    log.write(f"\n{shlex.join(words)}\n")
    log.flush()
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": log}
    with subprocess.Popen(words, cwd=ROOT, text=True, start_new_session=True, **streams) as process:
        try:
            with Interrupt(raises=True):  # a signal becomes an exception, on whose way out the group is killed
                out, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return {"error": f"no end after {seconds:.0f} s", "late": True}
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    log.write(out)
    log.flush()
    return told(part, process.returncode, out, Path(log.name))


def told(part: Part, status: int, out: str, log: Path) -> dict[str, Any]:
    """What a part that has ended says: JSON, or the closing line of tests, which may fail."""
    if part.is_tests and (counts := COUNTED.findall(last_line(out, ""))):
        failed = [line.split()[1] for line in out.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return {"result": {word: int(count) for count, word in counts} | {"failures": failed}}
    if status:
        return {"error": last_line(log.read_text(encoding="utf-8", errors="replace"), f"exit status {status}")[:300]}
    try:
        return {"result": json.loads(out)}
    except ValueError:
        return {"error": "what it printed is no JSON"}


def refuse_cpu(outcome: dict[str, Any]) -> None:
    """A CPU's numbers have no place among a GPU's."""
    machine = outcome.get("result", {}).get("machine", {})
    if machine.get("platform", "gpu") == "cpu":
        raise RunError("gpu: JAX finds no GPU here; pip install 'sacbrax[cuda12]', or --small for a trial on a CPU")


def driver() -> str | None:
    """The device's name, memory and driver as NVIDIA's own tool has them; None where there is none."""
    words = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    return None


def print_table(result: dict[str, Any]) -> None:
    """The tables, or what there is by now."""
    if "section" in result:
        print(result["section"], end="")
        return
    for name, record in result["parts"].items():
        print(f"{name:20} {record['seconds']:6.1f} s  {record.get('error', 'done')}")
