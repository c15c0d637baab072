"""Completion of commands in a shell by argcomplete: commands, options, configurations, keys, runs and policies.

The shell's hook starts the command with the line so far in the environment; where that is so, the answer is given and
the process ends. What an argument may be goes by its name, which all commands share.
"""

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sacbrax.config import Config, ConfigError, flat, shipped_configs


def wanted() -> bool:
    """Whether a shell asks for completions."""
    return "_ARGCOMPLETE" in os.environ


def command(commands: Iterable[str]) -> str:
    """The command that the line has, whose own arguments are then to be completed; where it has none yet, the answer is
    given and the process ends."""
    argcomplete = _argcomplete()
    start = int(os.environ["_ARGCOMPLETE"]) - 1
    words = argcomplete.lexers.split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3][start:]
    if len(words) < 2:
        parser = argparse.ArgumentParser(prog="sacbrax")
        parser.add_argument("--version", action="store_true")
        parser.add_argument("command", choices=list(commands))
        argcomplete.autocomplete(parser)
    os.environ["_ARGCOMPLETE"] = str(start + 2)  # from here on the command is what comes first
    return words[1]


def answer(parser: argparse.ArgumentParser) -> None:
    """Complete the arguments of one command and end the process."""
    argcomplete = _argcomplete()
    for action in _actions(parser):
        if action.dest in COMPLETERS:
            action.completer = COMPLETERS[action.dest]  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options="long")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Of a parser and those of its own commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)


def _argcomplete() -> Any:
    try:
        import argcomplete.lexers
    except ImportError:
        raise ConfigError("completion: argcomplete is not installed; pip install 'sacbrax[completion]'") from None
    return argcomplete


def _configs(prefix: str, **_: Any) -> list[str]:
    return [*shipped_configs(), *_argcomplete().FilesCompleter(("yaml",))(prefix)]


def _runs(prefix: str, **_: Any) -> list[str]:
    from sacbrax.policy_file.files import pretrained

    return [*pretrained(), *_argcomplete().FilesCompleter(("npz",))(prefix)]


def _directories(prefix: str, **_: Any) -> list[str]:
    return _argcomplete().DirectoriesCompleter()(prefix)


def _keys(prefix: str, **_: Any) -> list[str]:
    """`section.key=`, and after the sign the choices that the key has."""
    key, equals, _typed = prefix.partition("=")
    if not equals:
        return [f"{key}=" for key in flat(Config())]
    section, _dot, name = key.partition(".")
    options = {field.name: field for field in dataclasses.fields(vars(Config()).get(section, Config()))}
    if not name or name not in options:
        return []
    switch = isinstance(options[name].default, bool)
    return [f"{key}={choice}" for choice in (("true", "false") if switch else options[name].metadata["choices"] or ())]


COMPLETERS: dict[str, Callable[..., list[str]]] = {
    "config": _configs,
    "sweep": _configs,
    "overrides": _keys,
    "run": _runs,
    "runs": _directories,
    "resume": _directories,
    "directory": _directories,
}
