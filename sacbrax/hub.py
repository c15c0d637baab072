"""Share a run on the Hugging Face Hub: `python -m sacbrax.hub push RUN OWNER/NAME`, `... pull OWNER/NAME --out DIR`."""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacbrax.cli import Parser, guarded, leave
from sacbrax.config import ConfigError
from sacbrax.core.errors import one_line
from sacbrax.policy_file import hub
from sacbrax.policy_file.files import load_policy
from sacbrax.view import curves, model_card
from sacbrax.view.figures import load_matplotlib
from sacbrax.view.runs import portable_config

METRICS, SUMMARY, CONFIG = "metrics.jsonl", "summary.json", "config.yaml"
FILES = (hub.POLICY, CONFIG, METRICS, SUMMARY, "README.md", model_card.CURVE)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.hub",
        description="Share a run's policy, configuration and metrics on the Hugging Face Hub, with a card that says "
        "what they are; or fetch one. The token is the one of `hf auth login` or HF_TOKEN. A policy that is there is "
        "used everywhere by the name hf:OWNER/NAME.",
        epilog="example: python -m sacbrax.hub push runs/swimmer/2026-01-31_12-00-00 me/swimmer --private; "
        "python -m sacbrax.hub pull me/swimmer --out runs/fetched",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="push|pull")
    push_parser = commands.add_parser("push", help="send a run", description="Send a run.")
    push_parser.add_argument("run", type=Path, metavar="RUN", help="run directory")
    push_parser.add_argument("name", metavar="OWNER/NAME", help="repository; made if there is none")
    push_parser.add_argument("--private", action="store_true", help="make a repository that only its owner sees")
    push_parser.add_argument("--message", default="A run of sacbrax", help="of the commit")
    pull_parser = commands.add_parser("pull", help="fetch a run", description="Fetch a run.")
    pull_parser.add_argument("name", metavar="OWNER/NAME[@REVISION]", help="repository")
    pull_parser.add_argument("--out", type=Path, metavar="DIR", help="directory to make (runs/NAME)")
    return parser.parse_args(argv)


def push(args: argparse.Namespace) -> str:
    """Send a run; where it is then."""
    name, revision = hub.split(args.name)
    if revision is not None:
        raise ConfigError(f"{args.name}: a push makes the newest version; leave @{revision} out")
    files = contents(args.run, name)

    def send(library: Any) -> str:
        api = library.HfApi(library_name="sacbrax")
        repository = api.create_repo(name, private=args.private or None, exist_ok=True)
        operations = [library.CommitOperationAdd(path, content) for path, content in files.items()]
        api.create_commit(repository.repo_id, operations, commit_message=args.message)
        return str(repository)

    return hub.asked(name, send)


def contents(run: Path, name: str) -> dict[str, bytes]:
    """What is shared of a run, by path: nothing else of the directory leaves the machine. Raises ConfigError."""
    load_policy(run)  # is there, and is one
    found = {hub.POLICY: (run / hub.POLICY).read_bytes()}
    config = portable_config(run)
    if config is None:
        raise ConfigError(f"{run}: no config.yaml that this release can read")
    summary: dict[str, Any] = {}
    if (run / SUMMARY).is_file():
        found[SUMMARY] = (run / SUMMARY).read_bytes()
        try:
            summary = dict(json.loads(found[SUMMARY]))
        except (ValueError, TypeError):
            raise ConfigError(f"{run}: {SUMMARY} is not a mapping") from None
    card = model_card.card(run, name, summary)  # says if there is no evaluation
    found |= {CONFIG: config.encode(), METRICS: (run / METRICS).read_bytes(), "README.md": card.encode()}
    plt, picture = load_matplotlib(), io.BytesIO()
    figure = curves.draw(plt, curves.gather([run]))
    figure.savefig(picture, format="png", dpi=100)
    plt.close(figure)
    return found | {model_card.CURVE: picture.getvalue()}


def pull(args: argparse.Namespace) -> str:
    """Fetch the files of a run into a new directory; its path."""
    name, revision = hub.split(args.name)
    out = args.out or Path("runs") / name.rpartition("/")[2]
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--out: cannot make {out}: {error.strerror}; choose a new directory") from None

    def receive(library: Any) -> None:
        for path in FILES:  # and no others, whatever there is
            try:
                kept = library.hf_hub_download(name, path, revision=revision)
            except library.errors.EntryNotFoundError as error:
                if path == hub.POLICY or isinstance(error, library.errors.LocalEntryNotFoundError):
                    raise
                continue
            (out / path).parent.mkdir(exist_ok=True)
            shutil.copyfile(kept, out / path)

    try:
        hub.asked(name, receive)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return str(out)


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    try:
        print(push(args) if args.command == "push" else pull(args))
    except OSError as error:
        raise ConfigError(one_line(error)) from None
    return 0


if __name__ == "__main__":
    leave(main())
