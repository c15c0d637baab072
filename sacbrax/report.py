"""Gather a run in one page: `python -m sacbrax.report RUN --out report.html`.

The page is a single file that loads nothing: learning curves, diagnostics, the final policy on each engine, an episode
to watch, the configuration, versions and hardware, and how to train it again.
"""

import argparse
import html
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacbrax.cli import Parser, guarded, prepare_jax
from sacbrax.config import Config, ConfigError, flat
from sacbrax.evaluate import evaluate_engine, evaluate_gymnasium
from sacbrax.policy_file.files import load_policy, task
from sacbrax.policy_file.numpy_policy import NumpyPolicy, PolicyFileError
from sacbrax.view import curves, tables
from sacbrax.view.episode import ENGINES, play
from sacbrax.view.figures import load_matplotlib, save, svg
from sacbrax.view.metrics import RETURN, read_metrics

ENGINE_NAMES = {
    "gymnasium": "Gymnasium's own task in C MuJoCo",
    "mjx": "MJX, MuJoCo in JAX",
    "fused": "our fused engine",
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments of the door."""
    parser = Parser(
        prog="python -m sacbrax.report",
        description="Write one page about a run: curves, evaluation on each engine, an episode, the configuration.",
        epilog="example: python -m sacbrax.report runs/swimmer/2026-01-31_12-00-00 --out report.html",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--out", type=Path, help="page to write (report.html in the run directory)")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=ENGINES, help="where to evaluate (all)")
    parser.add_argument("--episodes", type=int, default=20, help="episodes of each evaluation (20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode (0)")
    parser.add_argument("--import", action="store_true", dest="imports", help="import the class that the run names")
    args = parser.parse_args(argv)
    if args.episodes < 1 or args.seed < 0:
        parser.error("--episodes must be at least 1 and --seed at least 0")
    return args


def page(args: argparse.Namespace) -> str:
    """The whole page."""
    from sacbrax.view import episode_page

    run, summary = args.run, read_summary(args.run)
    rows, policy = read_metrics(run), load_policy(run)
    sections = {
        "Learning": learning(run),
        "Final policy": evaluations(policy, args),
        "An episode": episode(policy, args),
        "Diagnostics": diagnostics(rows),
        "Training": table(training(summary, rows[-1])),
        "Hardware and versions": table(origins(summary)),
        "Reproduce": reproduce(run, summary),
        "Configuration": configuration(run),
    }
    name = html.escape(run.resolve().name)
    best = max(row[RETURN] for row in rows)
    task = html.escape(str(policy.header.get("env", {}).get("name")))
    body = "\n".join(f"<h2>{title}</h2>\n{content}" for title, content in sections.items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}</title><link rel="icon" href="data:,"><style>{tables.STYLE}{episode_page.STYLE}</style></head>
<body><h1>{name}</h1>
<p class="headline">Soft Actor-Critic on <b>{task}</b>: best mean return <b>{best:.1f}</b> after at most
<b>{rows[-1]["env_steps"]:,}</b> environment steps.</p>
{body}
</body></html>
"""


def read_summary(run: Path) -> dict[str, Any]:
    """summary.json of a run. Raises ConfigError where there is none."""
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{run}: no run directory with a summary.json") from None
    if not isinstance(summary, dict):
        raise ConfigError(f"{run}: summary.json is not a mapping")
    return summary


def learning(run: Path) -> str:
    """The curves of the run as a picture in the page."""
    plt, found = load_matplotlib(), curves.gather([run])
    picture = svg(plt, curves.draw(plt, found))
    return f"{picture}<p>Band: {curves.band_meaning(found)}.</p>"


def diagnostics(rows: list[dict[str, Any]]) -> str:
    """Every other number that was logged, one small panel each."""
    names = sorted({key for row in rows for key in row if key.startswith(("train/", "diag/", "time/"))})
    if not names:
        return "<p>None were logged.</p>"
    plt, columns = load_matplotlib(), 4
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(12, 1.9 * lines), squeeze=False, layout="constrained")
    for axis, name in zip(axes.flat, names, strict=False):
        found = [(row["env_steps"], row[name]) for row in rows if row.get(name) is not None]
        axis.plot(*zip(*found, strict=True), linewidth=1) if found else axis.text(0.3, 0.5, "no value")
        axis.set_title(name, fontsize="small")
        axis.tick_params(labelsize="x-small")
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    return svg(plt, figure) + "<p>Against environment steps.</p>"


def evaluations(policy: NumpyPolicy, args: argparse.Namespace) -> str:
    """A table of the best policy's returns on each engine; where it cannot run, why."""
    lines, seen = [], set()
    for engine in args.engines:
        try:
            if engine == "gymnasium":
                result = evaluate_gymnasium(policy, args.episodes, args.seed)
            else:
                engine = task(policy, engine, imports=args.imports)[0].backend
                if engine in seen:
                    continue  # the task brings its own physics, whatever engine is asked for
                seen.add(engine)
                _, result = evaluate_engine(policy, engine, args.episodes, args.seed, imports=args.imports)
        except (ConfigError, PolicyFileError) as error:
            lines.append(f"<tr><td>{_named(engine)}</td><td colspan=4>{html.escape(str(error))}</td></tr>")
            continue
        returns = result["return"]
        numbers = (returns.mean(), returns.std(), returns.min(), float(np.mean(result["length"])))
        cells = "".join(f'<td class="number">{number:.1f}</td>' for number in numbers)
        lines.append(f"<tr><td>{_named(engine)}</td>{cells}</tr>")
    head = "".join(f"<th>{text}</th>" for text in ("engine", "mean return", "std", "lowest", "mean length"))
    return (
        f"<table><tr>{head}</tr>{''.join(lines)}</table><p>The best policy by evaluation, its deterministic actions, "
        f"{args.episodes} episodes each, seeds from {args.seed}.</p>"
    )


def _named(engine: str) -> str:
    return html.escape(ENGINE_NAMES.get(engine, engine))


def episode(policy: NumpyPolicy, args: argparse.Namespace) -> str:
    """The player with one episode on the engine of training."""
    from sacbrax.view import episode_page

    try:
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
    yield "interrupted", "yes" if summary.get("interrupted") else "no"


def origins(summary: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Where the numbers come from."""
    yield "device", summary.get("device")
    for key in ("hardware", "versions"):
        yield from (summary.get(key) or {}).items()
    yield "revision", summary.get("git_revision")


def reproduce(run: Path, summary: dict[str, Any]) -> str:
    """Commands that train the same again."""
    revision = summary.get("git_revision")
    checkout = f"git checkout {revision}\n" if revision else ""
    commands = f"{checkout}python -m sacbrax.train config.yaml run.dir=runs/{run.resolve().name}-again"
    return f"<p>With the configuration below as <code>config.yaml</code>:</p><pre>{html.escape(commands)}</pre>"


def configuration(run: Path) -> str:
    """What was set, and the whole file."""
    settings, defaults = curves.read_settings(run), flat(Config())
    chosen = [(key, value) for key, value in settings.items() if value != defaults.get(key)]
    try:
        text = (run / "config.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return "<p>The run directory has no config.yaml.</p>"
    everything = f"<details><summary>config.yaml, complete</summary><pre>{html.escape(text)}</pre></details>"
    return "<p>Other than the defaults:</p>" + table(chosen) + everything


def table(lines: Iterable[tuple[str, Any]]) -> str:
    """Names and values."""
    cells = (f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>" for k, v in lines)
    return f"<table>{''.join(cells)}</table>"


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit status."""
    args = parse(argv)
    read_summary(args.run)
    prepare_jax()
    text, out = page(args), args.out or args.run / "report.html"
    save(out, lambda: out.write_text(text, encoding="utf-8"))
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
