"""The GPU section of docs/benchmarks.md from what was measured, beside what was planned and what is aimed at.

What was not measured says so, and no number is in it that no part gave: planned kernels are those of
`gpu_targets/planned.json`, which a test compares with what XLA's compiler makes of the programs.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sacbrax.bench.gpu_parts import ENVS, SEEDS
from sacbrax.config import ConfigError
from sacbrax.core.files import write_atomically
from sacbrax.view.tables import Table

PLANNED = Path(__file__).parent / "gpu_targets" / "planned.json"
HEADING, MISSING = "## GPU\n", "not measured"


class Line(NamedTuple):
    """A row of the table: a part, what it is called, what is aimed at, and how its result is said."""

    part: str
    what: str
    goal: str
    say: Callable[[dict[str, Any]], str]
    planned: tuple[str, ...] = ()  # configuration and program, of planned.json


def _spread(name: str, unit: str) -> Callable[[dict[str, Any]], str]:
    def say(result: dict[str, Any]) -> str:
        spread = result[f"{name}_spread"]
        return f"{result[name]:,.0f} {unit} ({spread['lowest']:,.0f} to {spread['highest']:,.0f})"

    return say


def _share(result: dict[str, Any]) -> str:
    return (
        f"{_spread('updates_per_second', 'updates/s')(result)}, {result['fraction_of_matmul']:.2f} of the product rate"
    )


def _smoke(result: dict[str, Any]) -> str:
    difference = result["physics_difference"]
    state = "finite" if result["finite"] else "NOT FINITE"
    return f"{state}, digest `{result['digest']}`; physics {difference['one_step']:.1e} from the CPU's after one step"


def _tests(result: dict[str, Any]) -> str:
    failed = result.get("failed", 0) + result.get("error", 0)
    names = f": {', '.join(result['failures'])}" if failed else ""
    return f"{result.get('passed', 0)} passed, {failed} failed{names}"


def _step(result: dict[str, Any]) -> str:
    rate = result["vector_steps_per_second"]["median"]
    parts = ", ".join(f"{name} {part['seconds'] * 1e6:,.0f}" for name, part in result.get("parts", {}).items())
    return f"{rate:,.0f} vector steps/s, {1e6 / rate:,.0f} us each" + (f" ({parts})" if parts else "")


def _mark(result: dict[str, Any]) -> str:
    said = []
    for run in result["runs"]:
        seconds, compiled = run["seconds_to_mark"], run["compile_seconds"]
        reached = "not reached" if seconds is None else f"{seconds:.1f} s, {seconds - compiled:.1f} after compilation"
        there = f"{run['seeds_at_mark']} of {run['seeds']} seeds, " if run["seeds"] > 1 else ""
        said.append(f"{run['start']}: {there}{reached}; whole run {run['seconds'] - compiled:.1f} s after it")
    return "; ".join(said)


def _physics(result: dict[str, Any]) -> str:
    return ", ".join(f"{row['num_envs']:,}: {row['env_steps_per_second']:,.0f}" for row in result["physics"])


def _tasks(result: dict[str, Any]) -> str:
    return ", ".join(f"{row['task']} ({row['side']}): {row['env_steps_per_second']:,.0f}" for row in result["tasks"])


def _rates(result: dict[str, Any]) -> str:
    return (
        f"{result['env_steps_per_second']:,.0f} env steps/s, {result['gradient_steps_per_second']:,.0f} updates/s, "
        f"compiled in {result['compile_seconds']:.1f} s"
    )


_UPDATES = _spread("updates_per_second", "updates/s")
LINES = (
    Line("smoke", "200 vector steps of `swimmer`", "", _smoke),
    Line("smoke_graph", "the same as one graph", "the same digest", _smoke),
    Line("smoke_kernel", "the same, physics as one kernel", "", _smoke),
    Line("tests", "some of the tests", "", _tests),
    Line("update_64", "update, two layers of 64, batch 256", "10,000 updates/s", _UPDATES, ("swimmer", "further")),
    Line("update_256", "two layers of 256", "10,000 updates/s", _UPDATES),
    Line("update_512", "two layers of 512, batch 32,768", "0.60 of the product rate", _share),
    Line("update_512_highest", "the same with `matmul_precision: highest`", "", _UPDATES),
    Line("step", "vector step of `swimmer`", "", _step, ("swimmer", "advance")),
    Line("step_graph", "the same as one graph", "", _step, ("swimmer_graph", "advance")),
    Line("swimmer_gpu", "`swimmer_gpu` to 345.6", "5 s after compilation", _mark, ("swimmer_gpu", "advance")),
    Line("swimmer_gpu_graph", "the same as one graph", "", _mark),
    Line("swimmer_gpu_seeds", "64 seeds of it", "4 times one", _mark, ("swimmer_gpu_seeds", "advance")),
    Line("swimmer", "`swimmer` to 345.6", "", _mark, ("swimmer", "advance")),
    Line("physics_fused", "env steps/s of swimmers, fused", "1,000,000,000", _physics),
    Line("physics_planar", "env steps/s of half-cheetahs, fused", "", _physics),
    Line("physics_kernel", "the same as one kernel, then as before", "", _physics),
    Line("halfcheetah", "training of `tasks/halfcheetah_v5`", "", _rates, ("halfcheetah", "advance")),
    Line("halfcheetah_kernel", "physics as one kernel", "", _rates, ("halfcheetah_kernel", "advance")),
    Line("physics_mjx", "env steps/s of swimmers, MJX", "", _physics),
    Line("physics_warp", "env steps/s of hoppers, MuJoCo Warp", "", _physics),
    Line("tasks", "env steps/s of tasks with their resets, 1,024 environments", "", _tasks),
    *(Line(f"seeds_{n}", f"`swimmer`, {n} seeds", "", _rates) for n in SEEDS),
    *(Line(f"envs_{n}", f"`swimmer`, {n:,} environments", "", _rates) for n in ENVS),
)


def section(found: dict[str, Any]) -> str:
    """The whole section, from its heading on. A part that failed says why."""
    planned = json.loads(PLANNED.read_text(encoding="utf-8"))
    rows = [(line.what, _plan(planned, line), line.goal, _said(found.get(line.part), line)) for line in LINES]
    table = Table(("what", "planned", "aim", "measured"), rows).markdown()
    commands = "".join(f"    {record['command']}\n" for record in found.values())
    head = "\n".join([HEADING, _facts(found), "", *_how(planned)])
    return f"{head}\n\n{table}" + (f"\nThe commands:\n\n{commands}" if commands else "")


def _how(planned: dict[str, Any]) -> list[str]:
    return [
        "    python -m sacbrax.bench gpu --out DIR --budget 540      # again: goes on",
        "    python -m sacbrax.bench gpu --from DIR --into docs/benchmarks.md",
        "",
        f"Planned: what XLA makes of the programs for an {planned['target'].upper()} that is only described, jaxlib",
        f"{planned['jaxlib']} ([performance.md](performance.md#a-gpus-program-without-a-gpu)). Microseconds are of a",
        "vector step, in brackets of its parts as programs of their own.",
    ]


def _facts(found: dict[str, Any]) -> str:
    """Device, versions, date and commit, of each part that differs in them once."""
    if any(record["small"] for record in found.values()):
        return "**A trial (`--small`): these numbers mean nothing.**"
    facts = dict.fromkeys(
        f"{record['driver']}, commit {record['commit']}, {record['date'][:10]}" for record in found.values()
    )
    if not facts:
        return "Not measured: no GPU was to be had."
    versions = found.get("smoke", {}).get("result", {}).get("versions", {})
    return "\n".join([*facts, ", ".join(f"{name} {version}" for name, version in versions.items())]).rstrip()


def _plan(planned: dict[str, Any], line: Line) -> str:
    if not line.planned:
        return ""
    configuration, program = line.planned
    row = planned["programs"][configuration][program]
    if program == "further":
        return f"{row} kernels"
    return f"{row['kernels']} kernels, graphs {row['graphs']}, loops {row['host_loops']}"


def _said(record: dict[str, Any] | None, line: Line) -> str:
    if record is None:
        return MISSING
    if "error" in record:
        return f"failed: {record['error']}"
    return line.say(record["result"])


def put(page: Path, section: str) -> None:
    """In place of the page's own GPU section. Raises `ConfigError` where it has none."""
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--into: {page}: {error.strerror}") from None
    before, found, after = text.partition(HEADING)
    if not found:
        raise ConfigError(f"--into: {page} has no section {HEADING.strip()!r}")
    rest = after.find("\n## ")
    write_atomically(page, before + section + (after[rest:] if rest >= 0 else ""))
