"""XLA's compiler options by purpose. Knows no JAX, so that flags can be set before it starts."""

from typing import Any

import jaxlib

from sacbrax.core.errors import ConfigError


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


def one_graph() -> dict[str, Any]:
    """On a GPU, a program's whole loop as one CUDA graph of as few kernels as can be: no pass of it waits for the host.

    Without the second option XLA makes no graph at all of a loop that may become one. Raises `ConfigError` for versions
    whose options are not known here.
    """
    if not jaxlib.__version__.startswith("0.10."):
        raise ConfigError(f"run.gpu_graph: known for jaxlib 0.10, not for {jaxlib.__version__}; set it to false")
    parts = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,WHILE,CONDITIONAL"
    return {
        "xla_gpu_enable_command_buffer": parts,
        "xla_gpu_graph_min_graph_size": 1,
        "xla_gpu_command_buffer_unroll_loops": True,
        # A product over a minibatch is not cut into shares, which another kernel would add up.
        "xla_gpu_experimental_force_split_k": 1,
    }
