"""Write the run in tests/support/data anew, and what its policy does, as this release writes them.

Run it (`python tests/support/make_data.py`) when a format version is raised; the policy of the version before stays as
`policy_<version>.npz`.
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
    shutil.rmtree(DATA / "run", ignore_errors=True)
    os.chdir(DATA)
    train(Path("run"), *OVERRIDES)
    (DATA / "run" / ".lock").unlink()
    policies = {file.name: load_policy(file) for file in DATA.glob("policy_*.npz")} | {"run": load_policy("run")}
    actions = {name: policy(OBSERVATIONS).tolist() for name, policy in policies.items()}
    (DATA / "actions.json").write_text(json.dumps(actions) + "\n")


if __name__ == "__main__":
    main()
