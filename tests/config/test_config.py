"""Configuration: what is read, what is refused with which key, and the derived sizes."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sacbrax import config as config_lib
from sacbrax.config import Config, ConfigError
from sacbrax.config.removed import REMOVED

SHIPPED = list(config_lib.trainable_configs().values())


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_numbers_are_coerced_by_the_field(tmp_path: Path) -> None:
    path = write(tmp_path, "algorithm: {learning_rate: 3e-4, gamma: 1}\nreplay: {capacity: 1e5}\ntrain: {seed: 7.0}\n")
    config = config_lib.load(path)
    assert config.algorithm.learning_rate == 3e-4
    assert config.algorithm.gamma == 1.0
    assert isinstance(config.algorithm.gamma, float)
    assert config.replay.capacity == 100_000
    assert isinstance(config.replay.capacity, int)
    assert config.train.seed == 7


def test_overrides_replace_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {seed: 1, batch_size: 32}\nnetwork:\n")
    config = config_lib.load(path, ["train.seed=2", "network.hidden_sizes=[8, 9]", "env.links=null", "train.seed=3"])
    assert config.train.seed == 3
    assert config.train.batch_size == 32
    assert config.network.hidden_sizes == (8, 9)


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert config_lib.load(write(tmp_path, ""), ["run.name=null"]) == Config()


def test_the_resolved_yaml_reads_back_as_itself(tmp_path: Path, tiny: Callable[..., Config]) -> None:
    config = tiny("env.kwargs={terminate_at: 3}", "algorithm.target_entropy=-0.5")
    assert config_lib.load(write(tmp_path, config.to_yaml())) == config


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().train.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "key", "says"),
    [
        ("train.sed=1", "train.sed", "did you mean seed?"),
        ("trian.seed=1", "trian", "did you mean train?"),
        ("algorithm.name=ppo", "algorithm.name", "choose from sac_v1, sac_v2"),
        ("env.engine=warped", "env.engine", "choose from fused, mjx, warp"),
        ("train.seed=x", "train.seed", "a whole number"),
        ("train.seed=1.5", "train.seed", "a whole number"),
        ("train.seed=true", "train.seed", "a whole number"),
        ("train.seed=-1", "train.seed", "at least 0"),
        ("algorithm.gamma=1.1", "algorithm.gamma", "at most 1"),
        ("algorithm.gamma=.nan", "algorithm.gamma", "a number"),
        ("algorithm.learning_rate=0", "algorithm.learning_rate", "above 0"),
        ("algorithm.learning_rate=null", "algorithm.learning_rate", "a number"),
        ("algorithm.learning_rate=[1]", "algorithm.learning_rate", "a number"),
        ("network.hidden_sizes=256", "network.hidden_sizes", "a list"),
        ("network.hidden_sizes=[]", "network.hidden_sizes", "a list"),
        ("network.hidden_sizes=[0]", "network.hidden_sizes", "at least 1"),
        ("network.critic_layer_norm=1", "network.critic_layer_norm", "true or false"),
        ("network={actor_block: simba, actor_layer_norm: true}", "network.actor_layer_norm", "which has its own"),
        ("network={critic_block: simba, hidden_sizes: [8, 9]}", "network.hidden_sizes", "alike"),
        ("network={critic_block: simba, critic_hidden_sizes: [8, 9]}", "network.critic_hidden_sizes", "alike"),
        ("env.name=5", "env.name", "a text"),
        ("env.kwargs=5", "env.kwargs", "keys"),
        ("train=5", "train", "keys"),
        ("train.seed.more=5", "train.seed.more", "is a value"),
        ("train.seed", "train.seed", "key.sub=value"),
        ("train.seed=[", "train.seed", "not valid YAML"),
        ("replay.capacity=3", "replay.capacity", "env.num_envs = 4"),
        ("replay.capacity=7", "replay.capacity", "algorithm.n_step"),
        ("train.batch_size=17", "train.batch_size", "train.exploration_env_steps"),
        ("train.total_env_steps=19", "train.total_env_steps", "at least 20"),
        ("policy.log_sigma_min=3", "policy.log_sigma_min", "below policy.log_sigma_max"),
        # Devices count in 32 bits.
        ("env.episode_length=2_147_483_648", "env.episode_length", "at most 2147483647"),
        ("replay.capacity=2_000_000_000", "replay.capacity", "at most 1073741824"),
        ("train.max_bad_updates=1e10", "train.max_bad_updates", "at most 2147483647"),
        (
            "algorithm.learning_rate={schedule: linear, values: [1, 2], boundaries: [3_000_000_000]}",
            "algorithm.learning_rate.boundaries",
            "at most 2147483647",
        ),
        ("train.total_env_steps=9e9", "train.total_env_steps", "vector steps"),
        ("train.total_env_steps=5e9", "train.total_env_steps", "gradient steps"),
    ],
)
def test_mistakes_name_the_key_and_the_cure(tmp_path: Path, override: str, key: str, says: str) -> None:
    from tiny_config import TINY

    path = write(tmp_path, yaml.safe_dump(TINY | {"train": TINY["train"] | {"seed": 0}}))
    with pytest.raises(ConfigError) as caught:
        config_lib.load(path, [override])
    message = str(caught.value)
    assert message.startswith(f"{key}:")
    assert says in message
    assert "\n" not in message


def test_a_removed_key_is_read_where_it_asks_for_nothing(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the configuration of a run has it that an earlier build wrote."""
    monkeypatch.setitem(REMOVED, "train.gone", None)
    for key, harmless in REMOVED.items():
        assert key not in config_lib.flat(Config())
        assert tiny(f"{key}={json.dumps(harmless)}") == tiny()
        with pytest.raises(ConfigError, match=rf"^{key}: there is no such option any more; leave it out \(or .+\)$"):
            tiny(f"{key}=0.5")
    assert config_lib.parse("train: {gone: null}\nnetwork:\n", "a file") == Config()


def test_an_epoch_fits_its_counters(tiny: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"^eval\.every_env_steps: more than 2\*\*31"):
        tiny("train.total_env_steps=3e9", "eval.every_env_steps=3e9", "train.updates_per_step=1")
    assert tiny("eval.every_env_steps=1e15").num_epochs == 1, "longer than the run is the run"


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (("algorithm.name=sac_v1",), "network.critic_batch_norm"),
        (("algorithm.tau=0.01",), "algorithm.tau"),
        (("algorithm.target_update_interval=2",), "algorithm.target_update_interval"),
        (("network.critic_block=simba",), "network.critic_batch_norm"),
    ],
)
def test_what_batch_norm_leaves_without_a_meaning_is_refused(
    tiny: Callable[..., Config], overrides: tuple[str, ...], key: str
) -> None:
    tiny("network.critic_batch_norm=batch", "algorithm.tau=0.005")
    with pytest.raises(ConfigError, match=f"^{key}: "):
        tiny("network.critic_batch_norm=batch", *overrides)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: [1", "not valid YAML at line"),
        ("- 1\n- 2\n", "expected sections"),
        ("just words", "expected sections"),
        ("a\tb: \x00", "not valid YAML"),
        ("train: !!python/object:os.system {}", "not valid YAML"),
        ("1: 2", "unknown key"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        config_lib.load(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"env: {name: caf\xe9}")
    for path, says in [("absent.yaml", "cannot read"), (".", "cannot read"), ("latin.yaml", "UTF-8")]:
        with pytest.raises(ConfigError, match=says):
            config_lib.load(tmp_path / path)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from([f.name for f in dataclasses.fields(Config)]), st.data())
def test_any_value_is_taken_or_refused_in_one_line(section: str, data: st.DataObject) -> None:
    """Whatever YAML holds, the outcome is a configuration or a ConfigError, nothing else."""
    section_type: Any = next(f.default_factory for f in dataclasses.fields(Config) if f.name == section)
    fields = dataclasses.fields(section_type)
    key = data.draw(st.sampled_from([field.name for field in fields]))
    value = data.draw(json_like)
    try:
        config = config_lib.from_mapping({section: {key: value}})
    except ConfigError as error:
        lines = str(error).splitlines()
        assert len(lines) == 1
    else:
        assert config_lib.from_mapping(yaml.safe_load(config.to_yaml())) == config


def test_derived_sizes(tiny: Callable[..., Config]) -> None:
    config = tiny("train.exploration_env_steps=10", "train.total_env_steps=96", "eval.every_env_steps=38")
    assert config.exploration_iterations == 3  # 10 / 4, rounded up
    assert config.iterations_per_epoch == 10  # 38 / 4, rounded
    assert config.num_epochs == 3  # 24 - 3 = 21 vector steps, the last epoch whole
    reached = (config.exploration_iterations + config.num_epochs * config.iterations_per_epoch) * 4
    assert 96 <= reached < 96 + 40


def test_a_rare_evaluation_does_not_lengthen_the_run(tiny: Callable[..., Config]) -> None:
    config = tiny("eval.every_env_steps=1_000_000")
    assert config.num_epochs == 1
    assert (config.exploration_iterations + config.iterations_per_epoch) * 4 == 96


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_load(path: Path) -> None:
    config_lib.load(path)


def test_every_option_has_its_line_of_help() -> None:
    for section in dataclasses.fields(Config):
        for field in dataclasses.fields(section.default_factory):  # type: ignore[arg-type]
            assert field.metadata["help"], field.name


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train: {seed: 1}\ntrain: {batch_size: 8}", "x: not valid YAML at line 2, column 1: train is there twice"),
        ("train:\n  seed: 1\n  seed: 2", "x: not valid YAML at line 3, column 3: seed is there twice"),
        ("algorithm: {reward_scale: {schedule: linear}}", "algorithm.reward_scale.values: expected a list of numbers"),
        ("algorithm: {reward_scale: {}}", "algorithm.reward_scale.values: expected a list of numbers"),
        (
            "algorithm: {reward_scale: {schedule: cosine, values: [3]}}",
            "algorithm.reward_scale.values: expected two",
        ),
    ],
)
def test_what_would_silently_be_something_else_is_refused(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_lib.parse(text, "x")
    assert str(error.value).startswith(line)


def test_anchors_and_merges_are_no_second_keys() -> None:
    text = "train: &t {seed: 1}\nx: &u {<<: *t}"
    with pytest.raises(ConfigError, match="x: unknown key"):
        config_lib.parse(text, "x")


def test_a_configuration_knows_the_name_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("run: {dir: here}\n")
    assert config_lib.load(tmp_path / "mine.yaml").run.name == "mine"
    assert config_lib.load("swimmer").run.name == "swimmer"
    assert config_lib.load("swimmer", ["run.name=other"]).run.name == "other"
    assert config_lib.load("swimmer", ["run.name=null"]).run.name is None
    again = config_lib.parse(config_lib.load("swimmer").to_yaml(), "x", (), "config")
    assert again == config_lib.load("swimmer")


def test_numbers_without_a_point_are_numbers_to_a_tasks_own_class() -> None:
    """YAML 1.1, which PyYAML reads, takes 1e-3 for a text."""
    kwargs = config_lib.load("swimmer", ["env.kwargs={a: 1e-3, b: [-2E5, 1_0.5e+1], c: e3, d: 1e, f: 12}"]).env.kwargs
    assert kwargs == {"a": 1e-3, "b": [-2e5, 105.0], "c": "e3", "d": "1e", "f": 12}
    assert type(kwargs["f"]) is int
