"""`sacbrax COMMAND ...` and `python -m sacbrax COMMAND ...`: the commands, one line each, and the way to each of them.

Knows their names alone: `sacbrax train` is `python -m sacbrax.train`.
"""

import importlib.util
import runpy
import sys
from collections.abc import Sequence

import sacbrax
from sacbrax import complete
from sacbrax.core.command import begin

COMMANDS = {
    "train": "train a policy: CONFIG.yaml [key.sub=value ...] [--resume RUN]",
    "evaluate": "evaluate a run's policy: RUN [--engine gymnasium|mjx|fused] [--episodes N] [--seed S] [--json]",
    "render": "draw a video of a run's policy: RUN --out FILE.(mp4|gif|html)",
    "plot": "draw learning curves: RUN... --out FILE.png",
    "watch": "show runs in a browser while they grow: [RUN|DIR] [--port N]",
    "compare": "compare runs in a table: RUN... [--mark R] [--out FILE.(txt|csv|html)]",
    "list": "say what there is: [tasks|configs|presets|policies|runs] [DIR]",
    "report": "gather a run in one page: RUN --out report.html",
    "export": "write a policy for other programs: RUN --out policy.onnx",
    "hub": "share a run on Hugging Face: push RUN OWNER/NAME | pull OWNER/NAME --out DIR",
    "replay": "keep a run's transitions for other runs: save RUN FILE.npz",
    "sweep": "train over many settings, or measure scaling: configs/sweeps/NAME.yaml | configs/scaling.yaml",
    "zoo": "list the shipped policies: [train NAME | page]",
    "bench": "measure speed: physics, update, roofline, train, peers, tasks, gpu-plan or parity [--json]",
}


EXAMPLES = """
examples:
  sacbrax list configs
  sacbrax train swimmer run.dir=runs/first
  sacbrax watch runs
  sacbrax compare runs/* --mark 345.6
"""


def available() -> dict[str, str]:
    """The commands that this installation has: name -> text."""
    return {name: text for name, text in COMMANDS.items() if importlib.util.find_spec(f"sacbrax.{name}") is not None}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name as `python -m sacbrax.COMMAND` does; without one, list them."""
    begin()
    arguments = sys.argv[1:] if argv is None else list(argv)
    if complete.wanted():
        arguments = [complete.command(available())]
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: sacbrax COMMAND ...; sacbrax COMMAND --help tells more\n")
        for name, text in available().items():
            print(f"  {name:9} {text}")
        print(EXAMPLES, end="")
        return 0
    if arguments[0] == "--version":
        print(f"sacbrax {sacbrax.__version__}")
        return 0
    if arguments[0] not in available():
        print(f"error: unknown command {arguments[0]!r}; choose from {', '.join(available())}", file=sys.stderr)
        return 2
    sys.argv[1:] = arguments[1:]
    sys.path.insert(0, "")  # as `python -m` does: env.name may name a class in the working directory
    runpy.run_module(f"sacbrax.{arguments[0]}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
