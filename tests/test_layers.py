"""A module imports only from lower floors of the house, read from the source. A new folder gets a line in `FLOORS`."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "sacbrax"
# The floors of the house, lowest first. A module imports from lower floors and from its own; `docs/design.md` says what
# each is for. Modules of the package root are the commands and the doors of the library.
FLOORS = (
    "core",
    "config",
    "xla",
    "engines",
    "envs",
    "policy_file",
    "parallel",
    "agents",
    "training",
    "checkpoint",
    "sinks",
    "run",
    "view",
    "",
    "bench",
    "sweep",
    "study",
    "zoo",
)
ROOT_DOORS = {"sweep.__main__": "study"}  # one command for both: a study is a sweep that is measured


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


def floor(name: str) -> int:
    """The place of a module in `FLOORS`; the package itself, which knows the version alone, is below all."""
    folder, _, _ = name.partition(".")
    return -1 if not name else FLOORS.index(folder if (PACKAGE / folder).is_dir() else "")


def test_imports_point_downwards() -> None:
    known, wrong = modules(), []
    for name, path in known.items():
        for other in imported(path, set(known)):
            if floor(other) > floor(name) and ROOT_DOORS.get(name) != other.partition(".")[0]:
                wrong.append(f"{name} imports {other}, from a higher floor")
    assert not wrong


def test_no_two_modules_need_each_other() -> None:
    known = modules()
    # `a.b` needs the module, not the folder: a package's own __init__ may gather what lies in it.
    needs = {name: imported(path, set(known)) - {name.rpartition(".")[0]} for name, path in known.items()}

    def visit(name: str, above: tuple[str, ...], done: set[str]) -> None:
        assert name not in above, f"a circle: {' -> '.join([*above, name])}"
        if name in done:
            return
        for other in needs[name]:
            visit(other, (*above, name), done)
        done.add(name)

    done: set[str] = set()
    for name in needs:
        visit(name, (), done)


def test_the_walk_sees_imports() -> None:
    known = set(modules())
    expected = {"training.replay", "envs.vector_env", "config", "envs", "agents.registry", "xla.random"}
    assert expected <= imported(PACKAGE / "training" / "trainer.py", known)
    assert floor("core.types") < floor("agents.losses") < floor("run.loop") < floor("train")


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
