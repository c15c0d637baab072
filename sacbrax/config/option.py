"""What one option of a configuration is: default, help and valid range; and how its value is read and checked.

Knows no section and no key: `sections` has those.
"""

import dataclasses
import difflib
import fnmatch
import math
import re
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from sacbrax.core.errors import ConfigError, one_line

LARGEST = 2**31 - 1


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    wide: bool = False,
    traced: bool = False,
    group: str | None = None,
) -> Any:
    """A config field: its default, one line of documentation and its valid range (low <= x <= high, x > above).

    A whole number has 32 bits, for devices count in those, unless it is `wide`: then only the host counts so far.
    A `traced` number reaches compiled programs as an argument, so that a sweep over it compiles nothing anew. Keys that
    matter only together, in one choice of another key, say so by the same `group`, the heading over them.
    """
    metadata: dict[str, Any] = {"help": help, "choices": choices, "low": low, "high": high, "above": above}
    metadata |= {"wide": wide, "traced": traced, "group": group}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """A number that changes with the gradient step: `{schedule: linear, values: [5, 50], boundaries: [20_000]}`.

    It starts at the first value and comes to each further one at the boundary of the same place; the last one stays.
    """

    schedule: str = option(
        "constant",
        "way from one value to the next: a straight line, half a cosine, or a jump at the boundary",
        choices=("constant", "linear", "cosine", "piecewise"),
    )
    values: tuple[float, ...] = option((1.0,), "values in their order")
    boundaries: tuple[int, ...] = option((), "increasing gradient steps at which the second value and later ones come")


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, to which a key that comes twice is a mistake."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen |= {key.value} if isinstance(key, yaml.ScalarNode) else set()
        return super().construct_mapping(node, deep)


# PyYAML knows YAML 1.1, to which 1e-3 without a point is a text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; `where` names it in messages. Raises `ConfigError`."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or one_line(error)
        raise ConfigError(f"{where}: not valid YAML{line}: {problem}") from None


def apply_override(mapping: dict[str, Any], override: str, dotted: Iterable[str] = ()) -> None:
    """Put the value of `key.sub=value` into nested dictionaries. `dotted` are dictionaries, such as `vary` or, for any
    name, `variants.*`, whose keys have dots themselves: what comes after is one key. Raises `ConfigError`."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"{override}: expected key.sub=value, for example train.seed=1")
    for section in dotted:
        depth = len(section.split("."))
        if parts[depth:] and fnmatch.fnmatchcase(".".join(parts[:depth]), section):
            parts[depth:] = [".".join(parts[depth:])]
    target = mapping
    for part in parts[:-1]:
        below = {} if target.get(part) is None else target[part]  # absent, or a section without keys
        if not isinstance(below, dict):
            raise ConfigError(f"{key}: {part} is a value, it has no keys below it")
        target[part] = dict(below)  # its own, for YAML's aliases are one dictionary in many places
        target = target[part]
    target[parts[-1]] = parse_yaml(text, key)


def build(cls: Any, mapping: Any, prefix: str) -> Any:
    """A dataclass of options from a mapping; `prefix` is its key. Raises `ConfigError` for what is unknown or wrong."""
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{prefix or 'configuration'}: expected keys with values below it, got {_show(mapping)}")
    fields = {field.name.rstrip("_"): field for field in dataclasses.fields(cls)}  # `from` is a word of Python's
    hints = {key.rstrip("_"): hint for key, hint in typing.get_type_hints(cls).items()}
    for key in mapping:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"{_join(prefix, key)}: unknown key; {hint}choose from {', '.join(fields)}")
    values = {}
    for key, value in mapping.items():
        name, hint = _join(prefix, key), hints[key]
        if dataclasses.is_dataclass(hint):
            values[key] = build(hint, {} if value is None else value, name)
        else:
            metadata = fields[key].metadata
            if value is False and "off" in (metadata["choices"] or ()):
                value = "off"  # which YAML reads as false
            values[fields[key].name] = _check_range(_coerce(value, hint, name), metadata, name)
    return cls(**values)


def _join(prefix: str, key: Any) -> str:
    return f"{prefix}.{key}" if prefix else str(key)


def _show(value: Any) -> str:
    """A value for a message, cut short: YAML's aliases can make a small file hold more than memory could print."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 80, 80
    return short.repr(value)


def _coerce(value: Any, hint: Any, name: str) -> Any:
    """Convert a YAML value to the field's type. PyYAML reads 3e-4 as a string, hence numbers from strings."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        words = [word for choice in typing.get_args(hint) for word in typing.get_args(choice)]  # of a Literal
        if isinstance(value, str) and words:
            if value in words:
                return value
            if not value.isdigit():
                raise ConfigError(f"{name}: expected a whole number or {', '.join(words)}, got {_show(value)}")
        choices = [choice for choice in typing.get_args(hint) if choice is not type(None)]
        if value is None and type(None) in typing.get_args(hint):
            return None
        if isinstance(value, Mapping) and dataclasses.is_dataclass(choices[-1]):
            return _check_schedule(build(choices[-1], {"values": (), **value}, name), name)
        return _coerce(value, choices[0], name)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{name}: expected a list such as [256, 256], got {_show(value)}")
        return tuple(_coerce(item, typing.get_args(hint)[0], name) for item in value)
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ConfigError(f"{name}: expected keys with values, got {_show(value)}")
        return dict(value)
    if hint is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{name}: expected true or false, got {_show(value)}")
        return value
    if hint is str:
        if not isinstance(value, str):
            raise ConfigError(f"{name}: expected a text, got {_show(value)}")
        return value
    kind = "a whole number" if hint is int else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConfigError(f"{name}: expected {kind}, got {_show(value)}")
    try:
        number = float(value) if isinstance(value, str) else value
        if not math.isfinite(number) or (hint is int and number != int(number)):
            raise ValueError
        return hint(number)
    except (ValueError, OverflowError):
        raise ConfigError(f"{name}: expected {kind}, got {_show(value)}") from None


def _check_schedule(schedule: ScheduleConfig, name: str) -> ScheduleConfig:
    values, boundaries = schedule.values, schedule.boundaries
    if not values:
        raise ConfigError(f"{name}.values: expected a list of numbers such as [5, 50]")
    if len(values) == 1 and schedule.schedule != "constant":
        raise ConfigError(f"{name}.values: expected two or more for {schedule.schedule}, got {list(values)}")
    if len(values) != len(boundaries) + 1:
        raise ConfigError(f"{name}.boundaries: expected one for each value but the first, got {len(boundaries)}")
    if any(b <= a for a, b in zip((0, *boundaries), boundaries, strict=False)):
        raise ConfigError(f"{name}.boundaries: must be positive and increasing, got {list(boundaries)}")
    if schedule.schedule == "constant" and boundaries:
        raise ConfigError(f"{name}.values: a constant has one value, got {len(values)}")
    return schedule


def _check_range(value: Any, metadata: Mapping[str, Any], name: str) -> Any:
    for choice in value if isinstance(value, tuple) else (value,):
        if choice is not None and metadata["choices"] and choice not in metadata["choices"]:
            raise ConfigError(f"{name}: unknown value {_show(choice)}; choose from {', '.join(metadata['choices'])}")
    if value == () and metadata["low"] is not None:
        raise ConfigError(f"{name}: expected a list such as [256, 256], got []")
    numbers = value.values if isinstance(value, ScheduleConfig) else value
    for number in numbers if isinstance(numbers, tuple) else (numbers,):
        if isinstance(number, int | float) and not isinstance(number, bool):
            if metadata["low"] is not None and number < metadata["low"]:
                raise ConfigError(f"{name}: must be at least {metadata['low']}, got {number}")
            if metadata["above"] is not None and number <= metadata["above"]:
                raise ConfigError(f"{name}: must be above {metadata['above']}, got {number}")
            high = LARGEST if isinstance(number, int) and not metadata["wide"] else None
            high = metadata["high"] if metadata["high"] is not None else high
            if high is not None and number > high:
                raise ConfigError(f"{name}: must be at most {high}, got {number}")
    return value


def plain(value: Any) -> Any:
    """An option's value as YAML has it."""
    if isinstance(value, ScheduleConfig):
        return {key: plain(part) for key, part in vars(value).items()}
    return list(value) if isinstance(value, tuple) else value
