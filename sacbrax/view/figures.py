"""What all pictures share: matplotlib without a display, and files written or refused in one line."""

import errno
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacbrax.config import ConfigError
from sacbrax.core.errors import one_line
from sacbrax.policy_file.numpy_policy import PolicyFileError


def load_matplotlib() -> Any:
    """pyplot, drawing into files. Raises ConfigError when matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise ConfigError("plot: matplotlib is not installed; pip install 'sacbrax[plot]'") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def literal(text: str) -> str:
    """Text for a picture as it is: no mathematics between dollars, and no label that a legend leaves out."""
    return f"{' ' if text.startswith('_') else ''}{text}".replace("$", r"\$")


def check(out: Path) -> None:
    """Before the work: raises ConfigError when `out` could not be written."""

    def attempt() -> None:
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        tempfile.TemporaryFile(dir=out.parent).close()

    save(out, attempt)


def svg(plt: Any, figure: Any) -> str:
    """A figure as an element of a page, its text as text; it is closed."""
    text = io.StringIO()
    salt = f"figure {figure.number}"  # names inside differ from other figures'
    with plt.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def save(out: Path, write: Callable[[], Any]) -> None:
    """Call `write`, which writes `out`. Raises ConfigError when that cannot be."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write()
    except (ConfigError, PolicyFileError):
        raise  # not about writing
    except (OSError, ValueError) as error:  # ValueError: a format matplotlib does not write
        said = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
        raise ConfigError(f"--out: cannot write {out}: {said}") from None
