"""What is to be known of a GPU, the most wanted first: each part is a command of this package with a time limit.

Every part has a small form too, which a CPU gets through in seconds: it shows that the part runs, and measures nothing.
"""

from pathlib import Path
from typing import NamedTuple

BRIEF = ("--repeats", "2", "--seconds", "0.02")
# What of the tests says something about a device, and does not take long to compile there.
TESTS = (
    "tests/agents/test_losses.py",
    "tests/agents/test_distributions.py",
    "tests/training/test_replay.py",
    "tests/envs/test_vector_env.py",
    "tests/xla/test_one_kernel.py",
    "tests/xla/test_random.py",
)
ROOT = Path(__file__).parents[2]
TINY = ("env.num_envs=16", "train.batch_size=16", "network.hidden_sizes=[8]", "replay.capacity=2048")
SHORT = (*TINY, "train.exploration_env_steps=640", "train.total_env_steps=1280", "eval.every_env_steps=640",
         "eval.episodes=2", "env.episode_length=50", "checkpoint.every_env_steps=null")  # fmt: skip
PHYSICS = (1024, 4096, 16384, 65536, 262144)
SEEDS, ENVS = (4, 16, 64, 256), (4096, 65536)
GRAPH = "run.gpu_graph=true"
KERNEL = "run.gpu_kernel=true"


class Part(NamedTuple):
    """A measurement: `python -m` these words. It is ended after `limit` seconds."""

    name: str
    limit: int
    words: tuple[str, ...]
    small: tuple[str, ...]

    @property
    def is_tests(self) -> bool:
        """Whether it prints pytest's closing line, where the others print JSON."""
        return self.words[0] == "pytest"


def _bench(name: str, limit: int, words: str, *small: str) -> Part:
    """A benchmark; in the small form the last word for an option counts."""
    full = ("sacbrax.bench", *words.split(), "--json")
    return Part(name, limit, full, (*full, *small))


def _physics(name: str, limit: int, words: str, sizes: tuple[int, ...] = PHYSICS) -> Part:
    numbers = "--num-envs " + " ".join(map(str, sizes))
    small = ("--num-envs", "4", "8", "--task", "inverted_pendulum_v5", *BRIEF)  # which compiles in seconds
    return _bench(name, limit, f"physics {words} {numbers}", *small)


_UPDATE = ("--batch-size", "16", "--hidden", "8,8", *BRIEF)
_STEP = (*TINY, "train.exploration_env_steps=640", *BRIEF)
_WALKER = ("env.name=inverted_pendulum_v5", *_STEP)  # which compiles in seconds
_SMOKE = (*TINY, "train.exploration_env_steps=640", "--steps", "2")
_MARK = (*SHORT, "--mark", "-1000")
_LARGE = "update --hidden 512,512 --batch-size 32768"
_PYTEST = ("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
_TASKS = ("--tasks", "inverted_pendulum", "--sides", "pool", "--num-envs", "2", "--steps", "1", "--repeats", "1")
_FILL = f"train.total_env_steps={2**30}"

PARTS = (
    _bench("smoke", 120, "smoke swimmer", *_SMOKE),
    _bench("smoke_graph", 120, f"smoke swimmer {GRAPH}", *_SMOKE),
    _bench("smoke_kernel", 120, f"smoke swimmer {KERNEL}", *_SMOKE),
    Part("tests", 120, (*_PYTEST, *TESTS), (*_PYTEST, "tests/core/test_numbers.py")),
    _bench("update_64", 90, "update --hidden 64,64", *_UPDATE),
    _bench("update_256", 90, "update --hidden 256,256", *_UPDATE),
    _bench("update_512", 120, _LARGE, *_UPDATE),
    _bench("update_512_highest", 120, f"{_LARGE} network.matmul_precision=highest", *_UPDATE),
    _bench("step", 150, "train swimmer --parts", *_STEP),
    _bench("step_graph", 150, f"train swimmer {GRAPH} --parts", *_STEP),
    _bench("swimmer_gpu", 180, "mark swimmer_gpu", *_MARK),
    _bench("swimmer_gpu_graph", 180, f"mark swimmer_gpu {GRAPH}", *_MARK),
    _bench("swimmer_gpu_seeds", 240, "mark swimmer_gpu_seeds", *_MARK, "train.num_seeds=2"),
    _bench("swimmer", 180, "mark swimmer", *_MARK),
    _physics("physics_fused", 120, "--engines fused"),
    _physics("physics_planar", 150, "--engines fused --task halfcheetah_v5"),
    _physics("physics_kernel", 150, "--engines fused_kernel fused --task halfcheetah_v5"),
    _bench("halfcheetah", 120, "train tasks/halfcheetah_v5", *_WALKER),
    _bench("halfcheetah_kernel", 120, f"train tasks/halfcheetah_v5 {KERNEL}", *_WALKER),
    _physics("physics_mjx", 240, "--engines mjx", (1024, 4096, 16384)),
    _physics("physics_warp", 240, "--engines warp --task hopper_v5"),
    _bench("tasks", 300, "tasks --tasks halfcheetah ant --sides pool brax --num-envs 1024 --steps 5", *_TASKS),
    *(_bench(f"seeds_{n}", 120, f"train swimmer train.num_seeds={n}", *_STEP, "train.num_seeds=2") for n in SEEDS),
    *(
        _bench(f"envs_{n}", 120, f"train swimmer env.num_envs={n} replay.capacity={64 * n} {_FILL}", *_STEP)
        for n in ENVS
    ),
)
