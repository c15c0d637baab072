"""Sphinx: `sphinx-build -W docs build/docs`. Pages are Markdown (MyST); the reference comes from the docstrings.

Equations are plain Unicode, as in the docstrings: they read the same in a terminal, on a page and without a network.
"""

import ast
import inspect
import pkgutil
import re
import textwrap
from typing import Any

import sacbrax

project = "sacbrax"
author = "The sacbrax authors"
release = version = sacbrax.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"sacbrax {release}"
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["wide.css"]  # lines of code have up to 120 columns
exclude_patterns = ["examples"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
python_use_unqualified_type_names = True
autodoc_mock_imports = ["mlflow", "tensorboardX", "trackio", "wandb"]  # their sinks are read without them
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "ignore-module-all": True, "exclude-members": "replace"}


def fields_with_comments(cls: type) -> list[str]:
    """The fields of a dataclass as its source has them, with the comment behind each: shapes live there."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return []
    lines = source.splitlines()
    found = []
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            comment = lines[(node.end_lineno or 1) - 1][node.end_col_offset or 0 :].strip().removeprefix("#").strip()
            if comment:
                found.append(f"* ``{node.target.id}``: {escape(comment)}")
    return found


def escape(text: str) -> str:
    """Our docstrings are plain text with `code`; of reStructuredText they must mean nothing."""
    parts = re.split(r"(`+[^`]+`+)", text)
    for i, part in enumerate(parts):
        parts[i] = "``" + part.strip("`") + "``" if i % 2 else re.sub(r"([*|_\\])", r"\\\1", part)
    return "".join(parts)


def restructure(docstring: str) -> str:
    """A docstring as reStructuredText: indented paragraphs are kept as they are, equations and tables."""
    paragraphs = docstring.split("\n\n")
    return "\n\n".join("::\n\n" + p if p.startswith("    ") else escape(p) for p in paragraphs)


def process_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings as they are, then the fields of a class."""
    lines[:] = restructure("\n".join(lines)).split("\n")
    if what == "class" and (fields := fields_with_comments(obj)):
        lines += ["", *fields, ""]


def list_modules(app: Any, docname: str, source: list[str]) -> None:
    """The reference has every module, but for those that only run: `__main__` and other projects' drivers."""
    if docname != "api":
        return
    names = sorted(module.name for module in pkgutil.walk_packages(sacbrax.__path__, "sacbrax."))
    for name in names:
        if not name.endswith("__main__") and ".peer_drivers." not in name:
            source[0] += f"\n## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", list_modules)
    app.connect("autodoc-process-docstring", process_docstring)
