"""A module imports only from smaller layers, read from the source. New modules get a line in `LAYERS`."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "sacbrax"
LAYERS: list[set[str]] = [
    {"", "types", "errors", "atomic", "numpy_policy", "model_warnings", "xla_options", "machine"},
    {"options", "manifest"},
    {"sections"},
    {"config", "envs.quiet", "xla_cpu"},
    {"lifeline", "draws"},
    {
        "distributions",
        "replay",
        "shards",
        "hosts",
        "schedules",
        "adam",
        "interrupt",
        "checkpoint",
        "snapshot",
        "statistics",
        "envs.task",
        "envs.contacts",
        "envs.models",
        "envs.chain",
    },
    {"envs.swimmer", "envs.limits", "envs.brax", "envs.playground", "envs.wrappers"},
    {"envs.dynamics"},
    {"envs.gain", "envs.fused", "envs.mjx", "networks", "losses"},
    {"policies.base", "envs.gymnasium_v5"},
    {"policies.gaussian", "policies.gmm", "policies.latent", "envs.gymnasium_tasks"},
    {"policies"},
    {"envs", "sac", "rollout"},
    {"trainer", "gym"},
    {"figures", "parallel", "loggers", "policy_file", "cli", "rundir", "summary"},
    {"store", "warm_start", "cohort", "sinks", "screen", "episode", "onnx_policy"},
    {"keeper", "rows", "sinks.tensorboard", "sinks.wandb", "sinks.videos"},
    {"runner"},
    {"q_surface", "video", "player", "curves"},
    {"train", "evaluate", "render", "plot", "export"},
    {"report", "notebook"},
    {"bench", "bench.timing", "bench.hlo", "bench.products", "bench.peer_drivers", "bench.peer_drivers.recorder"},
    {"bench.physics_engines"},
    {"bench.parts", "bench.brax_update"},
    {"bench.physics", "bench.update", "bench.peers", "bench.tasks", "bench.parity"},
    {"bench.train"},
    {f"bench.peer_drivers.{name}" for name in ("sacbrax_sac", "brax_sac", "rejax_sac", "sbx_sac", "sb3_sac")},
    {"bench.peer_drivers.cleanrl_style"},
    {"bench.roofline", "sweep", "sweep.spec"},
    {"sweep.journal", "sweep.trials"},
    {"sweep.execute", "sweep.search", "sweep.results"},
    {"sweep.run", "sweep.scaling_figures"},
    {"sweep.scaling_report"},
    {"sweep.scaling"},
    {"bench.__main__", "sweep.__main__", "__main__"},
]


def modules() -> dict[str, Path]:
    """Dotted name below the package -> file; the package itself is ''."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported(path: Path, known: set[str]) -> set[str]:
    """Modules of this package that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] != "sacbrax":
                continue
            inner = name.partition(".")[2]
            while inner not in known:  # a name inside a module
                inner = inner.rpartition(".")[0]
            found.add(inner)
    return found


def test_every_module_has_one_layer() -> None:
    listed = [name for layer in LAYERS for name in layer]
    assert len(listed) == len(set(listed))
    assert set(modules()) - set(listed) == set(), "new modules need a line in LAYERS"


def test_imports_point_downwards() -> None:
    layer = {name: i for i, names in enumerate(LAYERS) for name in names}
    known, wrong = modules(), []
    for name, path in known.items():
        for other in imported(path, set(known)):
            if layer[other] >= layer[name]:
                wrong.append(f"{name} (layer {layer[name]}) imports {other or 'sacbrax'} (layer {layer[other]})")
    assert not wrong


def test_the_walk_sees_imports() -> None:
    known = set(modules())
    assert {"replay", "rollout", "config", "envs", "sac"} <= imported(PACKAGE / "trainer.py", known)


def test_every_module_says_what_it_is_for() -> None:
    for name, path in modules().items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name


def public_names(tree: ast.Module) -> list[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """Functions, classes and methods without a leading underscore."""
    found: list[tuple[str, ast.FunctionDef | ast.ClassDef]] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
                found.append((prefix + child.name, child))
                if isinstance(child, ast.ClassDef):
                    visit(child, f"{prefix}{child.name}.")

    visit(tree, "")
    return found


def overrides(tree: ast.Module) -> set[str]:
    """Methods of classes that have a base class: the base says what they do."""
    return {
        f"{node.name}.{child.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.bases
        for child in node.body
        if isinstance(child, ast.FunctionDef)
    }


def test_public_names_say_what_they_are() -> None:
    silent = []
    for module, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inherited = overrides(tree)
        for name, node in public_names(tree):
            if not ast.get_docstring(node) and name not in inherited:
                silent.append(f"{module}.{name}")
    assert not silent, "no docstring"
