"""Gather a run in one page: `python -m sacbrax.report RUN --out report.html`.

The page is a single file that loads nothing: learning curves, diagnostics, the final policy on each engine, an episode
to watch, the configuration, versions and hardware, and how to train it again.
"""

if __name__ == "__main__":  # signals are heard while the rest is imported
    from sacbrax.core.command import begin

    begin()

import argparse
import base64
import html
import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax.cli import COUNT, SEED, Parser, guarded, leave, prepare_jax
from sacbrax.config import Config, ConfigError, flat
from sacbrax.core.numbers import sound_episodes
from sacbrax.policy_file.files import load_policy, task
from sacbrax.policy_file.numpy_policy import NumpyPolicy, PolicyFileError
from sacbrax.sinks.doing import doing
from sacbrax.view import curves, tables
from sacbrax.view import diagnostics as diagnostic_panels
from sacbrax.view.episode import ENGINES, play
from sacbrax.view.evaluation import evaluate_engine, evaluate_gymnasium
from sacbrax.view.figures import check, load_matplotlib, save, svg
from sacbrax.view.metrics import RETURN, read_metrics
from sacbrax.view.runs import portable_config

UNREADABLE = "<p>The run directory has no config.yaml that this release can read.</p>"
ENGINE_NAMES = {
    "gymnasium": "Gymnasium's own task in C MuJoCo",
    "mjx": "MJX, MuJoCo in JAX",
    "fused": "the fused engine",
    "warp": "MuJoCo Warp",
}
USUAL = ("gymnasium", "mjx", "fused")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.report",
        description="Write one page about a run: curves, evaluation on each engine, an episode, the configuration.",
        epilog="example: python -m sacbrax.report runs/swimmer/2026-01-31_12-00-00 --out report.html",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--out", type=Path, help="page to write (report.html in the run directory)")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=USUAL, help="where to evaluate (all but warp)")
    parser.add_argument("--episodes", type=COUNT, default=20, help="episodes of each evaluation (20)")
    parser.add_argument("--seed", type=SEED, default=0, help="seed of the first episode (0)")
    parser.add_argument("--import", action="store_true", dest="imports", help="import the class that the run names")
    args = parser.parse_args(argv)
    if args.out is not None and args.out.suffix != ".html":
        parser.error(f"--out: {args.out} must end in .html")
    return args


def page(args: argparse.Namespace) -> str:
    """The whole page."""
    from sacbrax.view import episode_page

    run, summary = args.run, read_summary(args.run)
    rows, policy = read_metrics(run), load_policy(run)
    with doing("drawing the curves"):
        sections = {"Learning": learning(run)}
    sections |= {"The best policy": evaluations(policy, args), "An episode": episode(policy, args)}
    with doing("drawing the diagnostics"):
        sections["Diagnostics"] = diagnostics(rows)
    sections |= {
        "Train it again": reproduce(run, summary),
        "Configuration": configuration(run),
        "Time": table(training(summary, rows[-1])),
        "Hardware and versions": table(origins(summary)),
    }
    name = html.escape(run.resolve().name)
    body = "\n".join(f"<h2>{title}</h2>\n{content}" for title, content in sections.items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}</title><link rel="icon" href="data:,"><style>{tables.STYLE}{episode_page.STYLE}</style></head>
<body><h1>{name}</h1>
{headline(policy, rows, summary)}
{body}
</body></html>
"""


def headline(policy: NumpyPolicy, rows: Sequence[dict[str, Any]], summary: dict[str, Any]) -> str:
    """What was trained, and what came of it."""
    best = max(rows, key=lambda row: row[RETURN])
    task = html.escape(str(policy.header.get("env", {}).get("name")))
    seeds = " over the seeds" if any(key.startswith("seed_0/") for key in best) else ""
    ended = "; the training was interrupted there and goes on with the same command" if summary["interrupted"] else ""
    return f"""<p class="headline">Soft Actor-Critic on <b>{task}</b>: best mean return{seeds}
<b>{best[RETURN]:.1f}</b>, after {best["env_steps"]:,} of {rows[-1]["env_steps"]:,} environment
steps{ended}.</p>"""


def read_summary(run: Path) -> dict[str, Any]:
    """summary.json of a run. Raises ConfigError where there is none."""
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(f"{run}: no run directory with a summary.json") from None
    except ValueError:
        summary = None
    if not isinstance(summary, dict):
        raise ConfigError(f"{run}: summary.json is damaged; the run's own command, again, writes it anew")
    return {"interrupted": False} | summary


def learning(run: Path) -> str:
    """The curves of the run as pictures in the page."""
    plt, found = load_matplotlib(), curves.gather([run])
    pictures = "".join(f"<figure>{svg(plt, figure)}</figure>" for figure in curves.single_panels(plt, found))
    note = f"<p>Band: {meaning}.</p>" if (meaning := curves.band_meaning(found)) else ""
    return f'<div class="panels large">{pictures}</div>{note}'


def diagnostics(rows: list[dict[str, Any]]) -> str:
    """Every other number that was logged in small panels, which say their keys when pointed at."""
    plt, pictures = load_matplotlib(), []
    for panel in diagnostic_panels.panels(rows):
        keys = html.escape(", ".join(panel.lines))
        pictures.append(f'<figure title="{keys}">{svg(plt, diagnostic_panels.draw(plt, panel, rows))}</figure>')
    if not pictures:
        return "<p>None were logged.</p>"
    absent = diagnostic_panels.never(rows)
    news = f" There were no {' and no '.join(absent)}." if absent else ""
    return f'<p>Against environment steps.{news}</p><div class="panels">{"".join(pictures)}</div>'


def evaluations(policy: NumpyPolicy, args: argparse.Namespace) -> str:
    """A table of the best policy's returns on each engine; where it cannot run, why."""
    lines, seen = [], set()
    for engine in args.engines:
        try:
            if engine != "gymnasium":
                engine = task(policy, engine, imports=args.imports)[0].backend
            if engine in seen:
                continue  # the task brings its own physics, whatever engine is asked for
            seen.add(engine)
            with doing(f"evaluating {args.episodes} episodes on {_named(engine)}"):
                result = evaluate(policy, engine, args)
        except (ConfigError, PolicyFileError) as error:
            lines.append(f"<tr><td>{html.escape(_named(engine))}</td><td colspan=4>{html.escape(str(error))}</td></tr>")
            continue
        found = sound_episodes(result)
        numbers = (found[name] for name in ("return_mean", "return_std", "return_min", "length_mean"))
        cells = "".join(f'<td class="number">{number:.1f}</td>' for number in numbers)
        lines.append(f"<tr><td>{html.escape(_named(engine))}</td>{cells}</tr>")
    head = "".join(f"<th>{text}</th>" for text in ("engine", "mean return", "std", "lowest", "length"))
    steps = policy.header.get("env_steps")
    after = f", saved after {steps:,} environment steps" if isinstance(steps, int) else ""
    results = f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>' if lines else ""
    counted = f" {args.episodes} episodes on each engine, seeds from {args.seed}." if lines else ""
    return (
        f"<p>The best of all evaluations by return{after}: <code>checkpoints/best_policy.npz</code>, which is not "
        f"always the last one. Deterministic actions.{counted}</p>{results}"
    )


def evaluate(policy: NumpyPolicy, engine: str, args: argparse.Namespace) -> dict[str, np.ndarray]:
    """`return` and `length` of whole episodes, [episodes] each."""
    if engine == "gymnasium":
        return evaluate_gymnasium(policy, args.episodes, args.seed)
    return evaluate_engine(policy, engine, args.episodes, args.seed, imports=args.imports)[1]


def _named(engine: str) -> str:
    return ENGINE_NAMES.get(engine, engine)


def episode(policy: NumpyPolicy, args: argparse.Namespace) -> str:
    """The player with one episode on the engine of training."""
    from sacbrax.view import episode_page

    try:
        with doing("playing an episode"):
            return episode_page.player(play(policy, seed=args.seed, imports=args.imports))
    except (ConfigError, PolicyFileError) as error:
        return f"<p>{html.escape(str(error))}</p>"


def training(summary: dict[str, Any], last: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """What the training took."""
    yield "environment steps", f"{last['env_steps']:,}"
    yield "gradient steps", f"{last.get('gradient_steps', 0):,}"
    for key, text in {
        "wall_seconds": "wall time",
        "compile_seconds": "compilation",
        "train_seconds": "training",
    }.items():
        if isinstance(summary.get(key), int | float):
            yield text, f"{summary[key]:,.1f} s"
    yield "interrupted", "yes" if summary["interrupted"] else "no"


def origins(summary: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Where the numbers come from."""
    yield "device", summary.get("device")
    for key in ("hardware", "versions"):
        yield from (summary.get(key) or {}).items()
    yield "revision", summary.get("git_revision")


def reproduce(run: Path, summary: dict[str, Any]) -> str:
    """The configuration to save, and commands that train the same again."""
    if (text := portable_config(run)) is None:
        return UNREADABLE
    saved = base64.b64encode(text.encode()).decode()
    revision = summary.get("git_revision")
    checkout = f"git checkout {revision}\n" if revision else ""
    name = shlex.quote(f"runs/{run.resolve().name}-again")
    commands = f"{checkout}python -m sacbrax.train config.yaml run.dir={name}"
    link = f'<a download="config.yaml" href="data:application/yaml;base64,{saved}">config.yaml</a>'
    return f"<p>Save {link}, and where it lies:</p><pre>{html.escape(commands)}</pre>"


def configuration(run: Path) -> str:
    """What was set, and the whole file."""
    if (text := portable_config(run)) is None:
        return UNREADABLE
    settings, defaults = curves.read_settings(run), flat(Config())
    chosen = [(key, value) for key, value in settings.items() if key != "run.dir" and value != defaults.get(key)]
    everything = f"<details><summary>config.yaml, complete</summary><pre>{html.escape(text)}</pre></details>"
    return "<p>Other than the defaults:</p>" + table(chosen) + everything


def table(lines: Iterable[tuple[str, Any]]) -> str:
    """Names, which may break at their dots and underscores, and values."""
    cells = []
    for name, value in lines:
        breaking = html.escape(name).replace(".", ".<wbr>").replace("_", "_<wbr>")
        cells.append(f"<tr><th>{breaking}</th><td>{html.escape(curves.in_words(value))}</td></tr>")
    return f'<div class="wide"><table class="settings">{"".join(cells)}</table></div>'


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    out = args.out or args.run / "report.html"
    read_summary(args.run)
    check(out)
    prepare_jax()
    text = page(args)
    save(out, lambda: out.write_text(text, encoding="utf-8"))
    print(out)
    return 0


if __name__ == "__main__":
    leave(main())
