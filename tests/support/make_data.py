"""Write tests/support/data anew: a small run and what its policy does, as this release writes them.

Run it (`python tests/support/make_data.py`) when a format version is raised; keep the old files beside the new ones.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
from resumable import train

from sacbrax import load_policy

DATA = Path(__file__).parent / "data"
OVERRIDES = ("train.total_env_steps=120", "replay.capacity=64", "checkpoint.keep=1")
OBSERVATIONS = np.linspace(-1.0, 1.0, 10).reshape(5, 2)


def main() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
    (DATA / ".gitattributes").write_text("* -text\n")  # checksums do not survive a change of line ends
    os.chdir(DATA)
    train(Path("run"), *OVERRIDES)
    (DATA / "run" / ".lock").unlink()
    (DATA / "actions.json").write_text(json.dumps(load_policy("run")(OBSERVATIONS).tolist()) + "\n")


if __name__ == "__main__":
    main()
