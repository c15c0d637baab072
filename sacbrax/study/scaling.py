"""The scaling study: `python -m sacbrax.sweep configs/scaling.yaml [scale=gpu]`.

One setting at a time moves away from the base configuration, or all combinations of some are run to a return mark.
Every point is a process of its own, `bench train` for the rates and `train` until the mark, so that memory and
compilation are a point's own; the machine's roofs are measured beside them. Finished points are kept in points.jsonl,
and a study that is started again goes on.
"""

import dataclasses
import itertools
import json
import operator
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from sacbrax import config as config_lib
from sacbrax.config import Config, ConfigError, flat, refuse_changed
from sacbrax.config.option import apply_override, build, option
from sacbrax.core.errors import RunError, last_line
from sacbrax.core.files import lock, refuse_foreign, write_atomically
from sacbrax.core.signals import Interrupt
from sacbrax.study.places import refuse_shared
from sacbrax.sweep import spec

JOURNAL = "points.jsonl"
KEYED = ("fixed", "per_env", "axes", "mark_axes", "grid.axes")  # parts of a scale that have configuration keys
DOTTED = tuple(f"scales.*.{part}" for part in KEYED)
TO_THE_MARK = ("mark", "grid")  # kinds of points that train until the mark
OWN = {  # keys that the study sets, and how to say what is wanted
    "run.dir": "use dir=DIRECTORY",
    "train.total_env_steps": "use mark_updates or grid.updates",
}
OF_A_GRID = OWN | {
    "train.seed": "use grid.seeds",
    "train.num_seeds": "use grid.seeds",
    "eval.every_env_steps": "use grid.eval_updates",
}
POLL_SECONDS = 0.1  # between two looks at the log of a run that is to reach the mark


@dataclasses.dataclass(frozen=True)
class Grid:
    """All combinations of some settings, each run to the mark with several seeds."""

    axes: dict[str, Any] = option({}, "configuration key: values it takes in combination with all of the others'")
    seeds: int = option(3, "runs of a combination, with train.seed, train.seed + 1, ...", low=1, high=1000)
    updates: int = option(12_000, "gradient steps after which a run that has not reached the mark ends", low=1)
    eval_updates: int = option(500, "gradient steps between two evaluations, whatever eval.every_env_steps says", low=1)


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of the study."""

    base: str | None = option(None, "configuration file of this size instead of the study's")
    fixed: dict[str, Any] = option({}, "values of configuration keys that all points have instead of base's")
    per_env: dict[str, Any] = option({}, "configuration keys that are this number times env.num_envs")
    axes: dict[str, Any] = option({}, "configuration key: values it takes while all others stay")
    mark: float | None = option(None, "return whose time is measured; none when null")
    mark_axes: dict[str, Any] = option({}, "configuration key: values with which training runs to the mark")
    mark_updates: int = option(12_000, "gradient steps after which a run that has not reached the mark ends", low=1)
    grid: Grid = dataclasses.field(default_factory=Grid)


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """The keys of a study's file."""

    study: str = option("scaling", "what kind of study the file is", choices=("scaling",))
    base: str | None = option(None, "configuration file of the point that everything is varied from")
    scale: str = option("cpu", "which of `scales` to run")
    scales: dict[str, Any] = option({}, "name: a size of the study")
    repeats: int = option(3, "timed calls of a point; their median counts", low=1)
    seconds: float = option(0.5, "length of a timed call", above=0.0)
    dir: str | None = option(None, "directory of the report; runs/<file name>/<scale> when null")


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement: what is varied, to what, and the overrides of the base configuration that say so."""

    kind: str  # roofline, rates, mark or grid
    axes: tuple[str, ...]  # that it belongs to; the base point, and one of the grid, to all
    overrides: tuple[str, ...]
    config: Config | None

    @property
    def key(self) -> str:
        """Tells whether a point of the journal is this one."""
        return json.dumps([self.kind, *self.overrides])


@dataclasses.dataclass(frozen=True)
class Study:
    """A study's file, checked."""

    name: str
    config: StudyConfig
    scale: Scale
    base: Path
    points: Sequence[Point]

    @property
    def directory(self) -> Path:
        """Where everything goes."""
        return Path(self.config.dir or Path("runs") / self.name / self.config.scale)

    def asked(self, point: Point) -> dict[str, Any]:
        """What a point's result depends on, by key, ready for JSON."""
        timing = {"repeats": self.config.repeats, "seconds": self.config.seconds}
        own = {"mark": self.scale.mark} if point.kind in TO_THE_MARK else timing
        return own if point.config is None else own | flat(point.config)

    def command(self, point: Point) -> list[str]:
        """Arguments of Python for a point."""
        timed = ["--repeats", str(self.config.repeats), "--seconds", str(self.config.seconds), "--json"]
        if point.kind == "roofline":
            return ["-m", "sacbrax.bench", "roofline", *timed]
        if point.kind == "rates":
            return ["-m", "sacbrax.bench", "train", str(self.base), *point.overrides, *timed]
        cache = point.kind == "grid"  # whose seeds share a program, and whose times are without its compilation
        alone = (f"run.compilation_cache={json.dumps(cache)}", "checkpoint.full=false", "--quiet")
        return ["-m", "sacbrax.train", str(self.base), *point.overrides, *alone]


def read(path: Path, overrides: Sequence[str]) -> Study:
    """A study's file with overrides, every point checked. Raises `ConfigError`."""
    mapping = spec.read_mapping(path)
    known = set(mapping.get("scales") or ())
    for override in overrides:
        apply_override(mapping, override, DOTTED)
    config: StudyConfig = build(StudyConfig, mapping, "")
    if config.base is None:
        raise ConfigError(f"{path}: base: the configuration file of the points is missing")
    if config.scale not in config.scales:
        raise ConfigError(f"scale: unknown value {config.scale!r}; choose from {', '.join(config.scales)}")
    for name in config.scales.keys() - known - {config.scale}:  # misspelt in an override, which would do nothing
        raise ConfigError(f"scales.{name}: unknown; choose from {', '.join(sorted(known))}")
    where = f"scales.{config.scale}"
    scale: Scale = build(Scale, config.scales[config.scale], where)
    base = path.parent / (scale.base or config.base)
    _refuse_own(scale, where)
    if scale.mark is None and (scale.mark_axes or scale.grid.axes):
        raise ConfigError(f"{where}.mark: missing; the return that mark_axes and grid run to")
    plain = config_lib.load(base)
    points = [Point("roofline", (), (), None)]
    points += _points(base, plain, scale, "rates", scale.axes, f"{where}.axes")
    points += _points(base, plain, scale, "mark", scale.mark_axes, f"{where}.mark_axes")
    points += _grid_points(base, plain, scale, f"{where}.grid.axes")
    if len(points) == 1:
        raise ConfigError(f"{where}: nothing to measure; expected axes, mark_axes or grid.axes")
    return Study(path.stem, config, scale, base, points)


def _refuse_own(scale: Scale, where: str) -> None:
    """Raise ConfigError for a key that is given and would be overwritten."""
    for part in KEYED:
        for key in operator.attrgetter(part)(scale):
            name, own = f"{where}.{part}.{key}", OF_A_GRID if part == "grid.axes" else OWN
            if key in own:
                raise ConfigError(f"{name}: set by the study; {own[key]}")
            if part != "per_env" and key in scale.per_env:
                raise ConfigError(f"{name}: grows with env.num_envs, as per_env says; choose one of both")
    for key, factor in scale.per_env.items():
        if isinstance(factor, bool) or not isinstance(factor, int):
            raise ConfigError(f"{where}.per_env.{key}: expected an integer, got {factor!r}")


def _points(base: Path, plain: Config, scale: Scale, kind: str, axes: Mapping[str, Any], where: str) -> Iterator[Point]:
    """Each axis in turn, equal points once: the base point is one of every axis that has its value."""
    found: dict[str, tuple[tuple[str, ...], Config, list[str]]] = {}
    for key, values in axes.items():
        configs = []
        for value in _listed(values, f"{where}.{key}"):
            overrides = _overrides(plain, scale, {key: value})
            config = config_lib.load(base, overrides)
            found.setdefault(config.to_yaml(), (overrides, config, []))[2].append(key)
            configs.append(config)
        refuse_shared(configs, {key: values}, where)
    for overrides, config, keys in found.values():
        yield Point(kind, tuple(keys), overrides, config)


def _grid_points(base: Path, plain: Config, scale: Scale, where: str) -> list[Point]:
    """All combinations with a first seed before any with the next, so that a study cut short has them all."""
    axes = {key: _listed(values, f"{where}.{key}") for key, values in scale.grid.axes.items()}
    if len(axes) == 1:
        raise ConfigError(f"{where}: expected two configuration keys or more; mark_axes moves one at a time")
    points, first = [], _number(plain, scale.fixed, "train.seed")
    for seed in range(first, first + scale.grid.seeds) if axes else ():
        for values in itertools.product(*axes.values()):
            varied = dict(zip(axes, values, strict=True)) | {"train.seed": seed}
            overrides = _overrides(plain, scale, varied, scale.grid)
            points.append(Point("grid", tuple(axes), overrides, config_lib.load(base, overrides)))
    refuse_shared([point.config for point in points if point.config is not None], axes, where)
    return points


def _listed(values: Any, name: str) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{name}: expected a list of values")
    return values


def _number(plain: Config, values: Mapping[str, Any], key: str) -> int:
    """A configuration key's value, checked by itself: whether it fits the others is known when all of them are."""
    section, _, name = key.partition(".")
    own: Any = getattr(plain, section)
    return int(getattr(build(type(own), {name: values[key]}, section) if key in values else own, name))


def _overrides(plain: Config, scale: Scale, varied: Mapping[str, Any], grid: Grid | None = None) -> tuple[str, ...]:
    values = {**scale.fixed, **varied}
    num_envs, updates, interval = (
        _number(plain, values, key) for key in ("env.num_envs", "train.updates_per_step", "train.update_interval")
    )
    values |= {key: factor * num_envs for key, factor in scale.per_env.items()}
    exploration = _number(plain, values, "train.exploration_env_steps")

    def env_steps(gradient_steps: int) -> int:
        return num_envs * interval * max(1, gradient_steps // updates)

    values["train.total_env_steps"] = exploration + env_steps(grid.updates if grid else scale.mark_updates)
    if grid:
        values["eval.every_env_steps"] = env_steps(grid.eval_updates)
    return tuple(f"{key}={json.dumps(value, default=str)}" for key, value in sorted(values.items()))


def main(path: Path, overrides: Sequence[str], *, as_json: bool, quiet: bool) -> int:
    """Run or go on with a study and write its report; returns the exit status."""
    from sacbrax.study import report

    study = read(path, overrides)
    console = Console(stderr=True, highlight=False, quiet=quiet)
    refuse_foreign(study.directory, "dir", ["runs"], (study.directory / JOURNAL).exists)
    try:
        study.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"dir: cannot write to {study.directory}: {error.strerror}") from None
    with Interrupt(raises=True), lock(study.directory, "dir"):  # a signal takes the process of a point along
        rows = measure(study, console)
        command = shlex.join(["python", "-m", "sacbrax.sweep", str(path), *overrides])
        written = report.write(study, rows, command)
    print(json.dumps(rows) if as_json else "\n".join(map(str, written)))
    return 0


def measure(study: Study, console: Console) -> list[dict[str, Any]]:
    """Every point's result, those of an earlier start included."""
    file = study.directory / JOURNAL
    done = {}
    if file.exists():
        try:
            done = {row["key"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"dir: {file} is no journal of a study; choose another dir") from None
    for point in study.points:
        if point.key in done:
            _refuse_changed(study, point, done[point.key])
    rows = []
    for i, point in enumerate(study.points):
        row = done.get(point.key)
        if row is None:
            begin = time.perf_counter()
            result = _to_the_mark(study, point) if point.kind in TO_THE_MARK else _benchmark(study, point)
            row = {"key": point.key, "kind": point.kind, "overrides": list(point.overrides), "result": result}
            row["asked"] = study.asked(point)
            row["command"] = shlex.join(["python", *study.command(point)])
            done[point.key] = row
            write_atomically(file, "".join(json.dumps(each) + "\n" for each in done.values()))
            label = " ".join(_varied(study, point)) or "base"
            console.print(
                f"{i + 1}/{len(study.points)} {point.kind} {label}: {time.perf_counter() - begin:.1f} s", markup=False
            )
        rows.append(row | {"axes": list(point.axes)})
    return rows


def _refuse_changed(study: Study, point: Point, row: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if a point was measured with another base or mark than it is asked for now."""
    now = study.asked(point)
    before = row.get("asked") or {"mark": row["result"].get("mark")}  # an earlier release kept nothing else
    known = [key for key in now if key in before]  # a release may have keys that another has not
    where = f"what was measured in {study.directory}"
    refuse_changed(
        {key: before[key] for key in known}, {key: now[key] for key in known}, where, "choose another dir", ("run.",)
    )


def _varied(study: Study, point: Point) -> list[str]:
    keys = (*point.axes, "train.seed")
    return [override for override in point.overrides if override.partition("=")[0] in keys]


def _benchmark(study: Study, point: Point) -> dict[str, Any]:
    finished = subprocess.run([sys.executable, *study.command(point)], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise _failure(study.command(point), finished.returncode, finished.stderr)
    return json.loads(finished.stdout)


def _failure(command: Sequence[str], status: int, errors: str) -> RunError:
    return RunError(f"{shlex.join(command)} ended with {status}: {last_line(errors, 'no message')}")


def _to_the_mark(study: Study, point: Point) -> dict[str, Any]:
    """Seconds until an evaluation is at the mark, compilation included, and without it; None where it was not reached.

    A run that has come so far is ended by a signal.
    """
    number = [each for each in study.points if each.kind == point.kind].index(point)
    run = study.directory / "runs" / f"{point.kind}_{number:02d}_{int(time.time())}"
    command = [sys.executable, *study.command(point), f"run.dir={run}"]
    assert study.scale.mark is not None
    with tempfile.TemporaryFile("w+") as errors:  # which nobody reads before the end, as a pipe must be
        process = subprocess.Popen(command, stderr=errors)
        try:
            reached = None
            while reached is None:
                ended = process.poll() is not None
                rows = _rows(run / "metrics.jsonl")
                evaluated = [row for row in rows if row["eval/return_mean"] is not None]
                reached = next((row for row in evaluated if row["eval/return_mean"] >= study.scale.mark), None)
                if ended:
                    break
                time.sleep(POLL_SECONDS)
        finally:
            process.terminate()
            process.wait()
        if not rows or (reached is None and process.returncode):
            errors.seek(0)
            raise _failure(study.command(point), process.returncode, errors.read())
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    result = {"mark": study.scale.mark, "best_return": summary["best_return"], "evaluations": rows}
    result |= {"compile_seconds": summary["compile_seconds"], "seconds": None, "seconds_without_compilation": None}
    if reached is not None:
        result["seconds"] = reached["wall_seconds"]
        result["seconds_without_compilation"] = reached["wall_seconds"] - summary["compile_seconds"]
        result |= {key: reached[key] for key in ("env_steps", "gradient_steps")}
    return result


def _rows(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").split("\n")[:-1]:  # the last may be half written
        row = json.loads(line)
        rows.append({key: row[key] for key in ("env_steps", "gradient_steps", "wall_seconds", "eval/return_mean")})
    return rows
