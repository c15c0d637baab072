"""Several processes as one run, for your own programs: `sacbrax.hosts.join(config.parallel)` before JAX is used."""

from sacbrax.parallel.processes import join

__all__ = ["join"]
