"""XLA's compiler options by purpose. Knows no JAX, so that flags can be set before it starts."""

import importlib.metadata
from typing import Any


def quick() -> dict[str, Any]:
    """Compile fast instead of well: for programs whose compilation outlasts their run. On CPUs.

    XLA 0.10's fusions by MLIR are left out as well: of MJX's search for the nearest point of a cylinder they make a
    program that is not done within minutes at this level. Later versions abort on a flag they do not know.
    """
    options: dict[str, Any] = {"xla_backend_optimization_level": 0}
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        options["xla_cpu_use_fusion_emitters"] = False
    return options
