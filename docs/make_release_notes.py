"""Print what CHANGELOG.md says of a version: `python docs/make_release_notes.py v0.1.0`. Needs Python alone.

The version must be the package's own, and no longer be called unreleased.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def notes(tag: str, changes: str, version: str) -> str:
    """The section of the version that a tag, such as v0.1.0, names. Raises ValueError with one line."""
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, sacbrax/__init__.py has {version}")
    for section in re.split(r"^(?=## )", changes, flags=re.MULTILINE):
        title, _, text = section.partition("\n")
        if title.removeprefix("## ").partition(" ")[0] != version:
            continue
        if "not released" in title:
            raise ValueError(f"CHANGELOG.md calls {version} not released yet; give it a date")
        return text.strip() + "\n"
    raise ValueError(f"CHANGELOG.md has no section {version}")


if __name__ == "__main__":
    package = (ROOT / "sacbrax" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', package, re.MULTILINE)
    try:
        print(
            notes(sys.argv[1], (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), found[1] if found else ""), end=""
        )
    except ValueError as error:
        sys.exit(f"error: {error}")
