"""`python -m sacbrax`: the commands, one line each."""

import importlib.util

COMMANDS = {
    "train": "train a policy: CONFIG.yaml [key.sub=value ...] [--resume RUN]",
    "evaluate": "evaluate a run's policy: RUN [--engine gymnasium|mjx|fused] [--episodes N] [--seed S] [--json]",
    "render": "draw a video of a run's policy: RUN --out FILE.(mp4|gif|html)",
    "plot": "draw learning curves: RUN... --out FILE.png",
    "report": "gather a run in one page: RUN --out report.html",
    "export": "write a policy for other programs: RUN --out policy.onnx",
    "sweep": "train over a grid of settings: configs/scaling.yaml",
    "bench": "measure speed: physics, update or train [--json]",
}


def main() -> None:
    """Print the commands that this installation has."""
    print("usage: python -m sacbrax.COMMAND ...; COMMAND --help tells more\n")
    for name, text in COMMANDS.items():
        if importlib.util.find_spec(f"sacbrax.{name}") is not None:
            print(f"  {name:9} {text}")


if __name__ == "__main__":
    main()
