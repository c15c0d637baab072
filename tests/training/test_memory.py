"""What a run needs is compared with what there is before anything is compiled, and the key to lower is named."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from sacbrax.config import Config, ConfigError
from sacbrax.training import memory
from sacbrax.training.trainer import Trainer

LARGE = [
    ["eval.episodes=100_000_000"],
    ["env.episode_length=1_000_000_000"],
    ["train.updates_per_step=100_000_000", "train.total_env_steps=64"],
    ["train.batch_size=10_000_000", "replay.capacity=10_000_000", "train.exploration_env_steps=10_000_000"],
    ["algorithm.n_step=20_000_000", "replay.capacity=80_000_000"],
    ["train.num_seeds=1_000_000"],
    ["network.hidden_sizes=[20_000, 20_000]"],
    ["network.critic_hidden_sizes=[20_000, 20_000]"],
    ["network.actor_hidden_sizes=[8, 400_000_000]"],
    ["replay.capacity=1_000_000_000"],
    ["env.num_envs=100_000_000", "replay.capacity=200_000_000"],
]


@pytest.mark.parametrize("overrides", LARGE, ids=lambda overrides: overrides[0])
def test_the_key_that_asks_for_too_much_is_named(
    tiny: Callable[..., Config], overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "device_bytes", lambda devices=1: 2**30)
    config = tiny("train.total_env_steps=1_000_000_000", *overrides)
    key = overrides[0].partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{key}: the run needs .* GiB .*, the device has 1\.00 GiB; lower {key}$"):
        memory.check_memory(Trainer(config), config.train.num_seeds)


def test_the_copy_for_a_checkpoint_counts(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "host_bytes", lambda: 2**30)
    sizes = ["replay.capacity=20_000_000", "train.total_env_steps=1_000_000_000"]
    with pytest.raises(ConfigError, match=r"^replay\.capacity: .*, the host has 0\.33 GiB for the copy"):
        memory.check_memory(Trainer(tiny(*sizes)), 1)
    memory.check_memory(Trainer(tiny(*sizes, "checkpoint.full=false")), 1)
    memory.check_memory(Trainer(tiny(*sizes, "train.total_env_steps=5_000_000")), 1)  # the rest stays empty


def test_what_the_compiler_asks_for_counts(tiny: Callable[..., Config]) -> None:
    def program(temporary: int) -> SimpleNamespace:
        sizes = {"temp_size_in_bytes": temporary, "output_size_in_bytes": 0, "alias_size_in_bytes": 0}
        return SimpleNamespace(memory_analysis=lambda: SimpleNamespace(**sizes))

    config = tiny("train.updates_per_step=50")
    parts = memory.check_memory(Trainer(config), 1)
    memory.check_compiled({"advance": program(2**20), "init": program(0)}, config, parts)
    with pytest.raises(ConfigError, match=r"^train\.updates_per_step: "):
        memory.check_compiled({"advance": program(2**50)}, config, parts)
