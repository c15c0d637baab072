"""Show a trained policy: `python -m sacbrax.render RUN --out FILE.(mp4|gif|html)`.

MP4 and GIF are drawn by MuJoCo without a display; the page draws for itself and can be paused and searched.
"""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacbrax.cli import COUNT, SEED, Parser, guarded, leave, prepare_jax
from sacbrax.sinks.doing import doing

FORMATS = (".mp4", ".gif", ".html")
GIF_SIZE, GIF_PACE, GIF_SECONDS = (320, 240), 0.12, 20.0  # pixels, s between pictures, about, and of the episode


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.render",
        description="Show one episode of a policy's deterministic actions as a video, an animated picture or a page.",
        epilog="example: python -m sacbrax.render swimmer --out swim.mp4",
    )
    parser.add_argument("run", metavar="RUN", help="run directory, policy file or name of a pretrained policy")
    parser.add_argument(
        "--out", type=Path, nargs="+", required=True, metavar="FILE", help="files to write, .mp4, .gif or .html"
    )
    parser.add_argument(
        "--engine", choices=("gymnasium", "mjx", "fused"), help="where to step the task (that of training)"
    )
    parser.add_argument("--seed", type=SEED, default=0, help="seed of the episode (0)")
    parser.add_argument("--steps", type=COUNT, help="longest episode, in environment steps (the task's; gif: 20 s)")
    parser.add_argument("--camera", default="auto", help="camera of the model (its first; swimmers: track, above)")
    parser.add_argument("--size", type=COUNT, nargs=2, metavar=("W", "H"), help="pixels (640 480; gif: 320 240)")
    parser.add_argument("--every", type=COUNT, help="draw each EVERY-th step (mp4: 1, gif: about 8 pictures a second)")
    parser.add_argument("--import", action="store_true", dest="imports", help="import the class that the run names")
    args = parser.parse_args(argv)
    for out in args.out:
        if out.suffix.lower() not in FORMATS:
            parser.error(f"--out: {out} must end in one of {', '.join(FORMATS)}")
    if any(side % 2 or side > 4096 for side in args.size or ()):
        parser.error("--size: two even numbers up to 4096")
    return args


def write(episode: Any, out: Path, args: argparse.Namespace) -> None:
    """One file, in the format that its name asks for."""
    from sacbrax.view import episode_page, video

    kind = out.suffix.lower()
    if kind == ".html":
        title = Path(args.run).resolve().name if Path(args.run).exists() else args.run
        out.write_text(episode_page.page(episode, title), encoding="utf-8")
        return
    gif = kind == ".gif"
    every = args.every or (max(1, round(GIF_PACE / episode.dt)) if gif else 1)
    pictures = video.frames(episode, every, args.size or (GIF_SIZE if gif else (640, 480)), args.camera)
    if gif and args.steps is None:
        pictures = itertools.islice(pictures, round(GIF_SECONDS / (every * episode.dt)) + 1)
    (video.write_gif if gif else video.write_mp4)(out, pictures, every * episode.dt)


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    if args.engine != "gymnasium":
        prepare_jax()
    from sacbrax.policy_file.files import load_policy
    from sacbrax.view.episode import play
    from sacbrax.view.figures import check, save

    policy = load_policy(args.run)
    for out in args.out:
        check(out)
    with doing("playing an episode"):
        episode = play(policy, args.engine, args.seed, args.steps, imports=args.imports)
    for out in args.out:
        with doing(f"drawing {out}"):
            save(out, functools.partial(write, episode, out, args))
    print(*args.out, sep="\n")
    return 0


if __name__ == "__main__":
    leave(main())
