"""XLA's compiler options by purpose. Knows no JAX, so that flags can be set before it starts."""

from typing import Any

import jaxlib


def older_fusions() -> dict[str, Any]:
    """Emit a CPU's fusions the older way, where XLA has two: docs/environments.md, "The compiler", says what for.

    Versions after 0.10 refuse an option that they do not know, or abort on it as a flag.
    """
    return {"xla_cpu_use_fusion_emitters": False} if jaxlib.__version__.startswith("0.10.") else {}


def quick() -> dict[str, Any]:
    """Compile fast instead of well, on a CPU: for programs whose compilation would outlast their run.

    The newer fusions, compiled so, make of a long chain of bodies on MJX a program that is not done in minutes.
    """
    return {"xla_backend_optimization_level": 0} | older_fusions()
