"""What there is: `python -m sacbrax.list [tasks|configs|presets|policies|runs] [DIR]`."""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sacbrax.cli import Parser, guarded, leave
from sacbrax.config import ConfigError, shipped_configs
from sacbrax.config.presets import PRESETS
from sacbrax.view.tables import Table


def tasks(args: argparse.Namespace) -> Table:
    """Tasks by name, with what each is about."""
    from sacbrax.envs.registry import ENVS

    rows = []
    for name, place in ENVS.items():
        module, _, cls = place.partition(":")
        doc = getattr(importlib.import_module(module), cls).__doc__
        rows.append([name, doc.strip().splitlines()[0]])
    installed = importlib.util.find_spec("mujoco_playground") is not None
    missing = "" if installed else "; pip install 'sacbrax[playground]'"
    rows.append(["playground:NAME", f"a task of MuJoCo Playground{missing}"])
    rows.append(["my_pkg.my_env:MyEnv", "a class of your own with Brax's Env interface"])
    return Table(["env.name", "what it is"], rows)


def configs(args: argparse.Namespace) -> Table:
    """Configurations that come with the package, with the first sentence of each file."""
    rows = []
    for name, path in shipped_configs().items():
        comment = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("# "):
                break
            comment.append(line.removeprefix("# ").strip())
        sentence, dot, _ = " ".join(comment).partition(". ")
        rows.append([name, sentence + dot.strip()])
    return Table(["config", "what it is"], rows)


def presets(args: argparse.Namespace) -> Table:
    """Published variants that `algorithm.preset` names, with their source and how many settings each changes."""
    rows = [[name, preset.source, str(len(preset.settings))] for name, preset in PRESETS.items()]
    return Table(["algorithm.preset", "source", "settings"], rows, frozenset({"settings"}))


def policies(args: argparse.Namespace) -> Table:
    """Policies that come with the package, with the return of the evaluation that chose each; `zoo` has Gymnasium's."""
    from sacbrax.policy_file.files import load_policy, pretrained

    rows = []
    for name, path in pretrained().items():
        policy = load_policy(path)
        found = policy.header.get("eval/return_mean")
        rows.append(
            [
                name,
                str(policy.header.get("env", {}).get("name")),
                str(policy.observation_size),
                str(policy.action_size),
                f"{found:.1f}" if isinstance(found, float) else "",
            ]
        )
    return Table(
        ["policy", "task", "observation", "action", "in training"],
        rows,
        frozenset({"observation", "action", "in training"}),
    )


def runs(args: argparse.Namespace) -> Table:
    """Runs below a directory, the newest first."""
    from sacbrax.view import runs

    if not args.directory.is_dir():
        raise ConfigError(f"{args.directory}: no such directory; name the one that the runs are in")
    found = [runs.overview(path, args.directory) for path in runs.find(args.directory)[0]]
    rows = [
        [
            run.name,
            run.task,
            f"{run.env_steps:,}",
            "" if run.last_return is None else f"{run.last_return:.1f}",
            "" if run.best_return is None else f"{run.best_return:.1f}",
            run.state,
            f"{runs.age(run)} ago" if run.written else "",
        ]
        for run in sorted(found, key=lambda run: -run.written)
    ]
    names = ["run", "task", "env steps", "last return", "best return", "state", "written"]
    return Table(names, rows, frozenset({"env steps", "last return", "best return", "written"}))


LISTS: dict[str, Callable[[argparse.Namespace], Table]] = {
    "tasks": tasks,
    "configs": configs,
    "presets": presets,
    "policies": policies,
    "runs": runs,
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.list",
        description="Tasks, configurations, presets and policies by name, and the runs below a directory.",
        epilog="example: python -m sacbrax.list configs; python -m sacbrax.list runs runs/swimmer",
    )
    parser.add_argument("what", nargs="?", choices=LISTS, metavar="LIST", help=f"{', '.join(LISTS)} (all but the runs)")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("runs"), help="where the runs are (runs)")
    return parser.parse_args(argv)


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    wanted = [args.what] if args.what else [name for name in LISTS if name != "runs"]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # for programs a row is a line
    print("\n".join(LISTS[name](args).text(width) for name in wanted), end="")
    return 0


if __name__ == "__main__":
    leave(main())
