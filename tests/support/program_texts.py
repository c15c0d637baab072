"""`python program_texts.py FILE OVERRIDE...`: a digest of each program that the configuration is compiled to."""

import hashlib
import sys

import jax
import numpy as np

from sacbrax import config as config_lib
from sacbrax.training.population import Population


def main() -> None:
    """One line a program."""
    population = Population(config_lib.load(sys.argv[1], sys.argv[2:]))
    programs, hyper = population.programs, population.hyper
    state = jax.eval_shape(programs.init, population.train_keys, hyper)
    sums = jax.eval_shape(programs.zero_sums, state)
    arguments = {
        "advance": (state, sums, hyper, np.int32(1)),
        "prefill": (state, hyper),
        "evaluate": (state, population.eval_keys),
        "diagnose": (state, hyper, population.eval_keys),
    }
    for name, given in arguments.items():
        text = getattr(programs, name).lower(*given).as_text()
        print(name, hashlib.sha256(text.encode()).hexdigest())


if __name__ == "__main__":
    main()
