"""What all pictures share: matplotlib without a display, and files written or refused in one line."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacbrax.config import ConfigError
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


def svg(plt: Any, figure: Any) -> str:
    """A figure as an element of a page; it is closed."""
    text = io.StringIO()
    with plt.rc_context({"svg.hashsalt": f"figure {figure.number}"}):  # names inside differ from other figures'
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
        raise ConfigError(f"--out: cannot write {out}: {error}") from None
