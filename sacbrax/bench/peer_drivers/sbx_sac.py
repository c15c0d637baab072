"""SBX's SAC (JAX updates, Gymnasium environments) on Gymnasium's Swimmer-v5."""

from sb3_sac import run
from sbx import SAC

if __name__ == "__main__":
    run(SAC)
