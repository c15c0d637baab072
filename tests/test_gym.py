"""Our tasks as Gymnasium environments: Gymnasium's own check, and the vector environment beside the single one."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from probes import Probe

from sacbrax.gym import TaskVectorEnv

NAME = "sacbrax.gym:sacbrax/Swimmer-v0"


def vector(num_envs: int, **kwargs: Any) -> Any:
    return gymnasium.make_vec(NAME, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)


@pytest.mark.filterwarnings("ignore:.*A Box observation space m")  # its own swimmer's is unbounded, too
def test_gymnasiums_own_check() -> None:
    check_env(gymnasium.make(NAME).unwrapped, skip_render_check=True)


def test_a_single_environment_ends_by_its_registered_time_limit() -> None:
    env: Any = gymnasium.make(NAME, max_episode_steps=5)
    assert env.reset(seed=3)[0].shape == (8,)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]


def test_a_vector_environment_resets_in_the_step_that_ends() -> None:
    """The vector check that Gymnasium lacks: spaces, dtypes, seeds, time limits, last observations."""
    env = vector(3, max_episode_steps=4)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset first"):
        env.step(np.zeros((3, 2)))
    first, _ = env.reset(seed=1)
    assert env.observation_space.contains(first)
    assert len({row.tobytes() for row in first}) == 3
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (8, 3, 2)).astype(np.float32)
    previous, seen = first, []
    for i, action in enumerate(actions):
        obs, reward, terminated, truncated, infos = env.step(action)
        assert env.observation_space.contains(obs)
        assert (reward.shape, terminated.dtype, truncated.dtype) == ((3,), bool, bool)
        assert not terminated.any()
        np.testing.assert_array_equal(truncated, i % 4 == 3)
        if i % 4 == 3:
            assert infos["_final_obs"].all()
            assert np.abs(infos["final_obs"] - previous).max() < 20, "the observation that follows, not the reset's"
            final = infos["final_info"]
            assert infos["_final_info"].all()
            assert final["_reward_ctrl"].all()
            np.testing.assert_allclose(final["reward_forward"] + final["reward_ctrl"], reward, rtol=1e-5)
            assert np.abs(infos["final_obs"]).max() > 0.1 >= np.abs(obs).max(), "a start is within +-0.1"
        else:
            assert infos == {}
        previous = obs
        seen.append(obs)
    again = vector(3, max_episode_steps=4)
    np.testing.assert_array_equal(again.reset(seed=1)[0], first)
    for action, obs in zip(actions, seen, strict=True):
        np.testing.assert_array_equal(again.step(action)[0], obs)
    assert isinstance(env.unwrapped, TaskVectorEnv)


def test_a_vector_environment_terminates_and_takes_any_task() -> None:
    env = TaskVectorEnv(2, name="probes:Cue", terminate_at=2)
    env.reset(seed=0)
    env.step(np.zeros((2, 2), np.float32))
    obs, reward, terminated, truncated, infos = env.step(np.zeros((2, 2), np.float32))
    assert terminated.all()
    assert not truncated.any()
    np.testing.assert_array_equal(infos["final_obs"][:, 1], 2)
    np.testing.assert_array_equal(obs[:, 1], 0)
    np.testing.assert_array_equal(reward, 1)


def test_a_pool_of_starts_is_made_anew_when_it_has_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe shows its start as long as an episode lasts; here each is one step long."""
    monkeypatch.setattr(Probe, "reset_pool", 5, raising=False)

    def starts() -> list[np.ndarray]:
        env = TaskVectorEnv(2, name="probes:Cue", terminate_at=1)
        return [env.reset(seed=3)[0], *(env.step(np.zeros((2, 2)))[0] for _ in range(60))]

    seen = starts()
    # Each pool serves for three steps, with six draws.
    pools = [{row[0] for obs in seen[1 + i : 4 + i] for row in obs} for i in range(0, 60, 3)]
    assert len(set.union(*pools)) == sum(map(len, pools)) > 50, "no start comes back"
    np.testing.assert_array_equal(starts(), seen)


def test_a_vector_environment_resets_what_leaves_the_finite_numbers() -> None:
    env = TaskVectorEnv(2, name="probes:Cue", nan_at=2)
    env.reset(seed=0)
    ends = []
    for _ in range(3):
        obs, _, terminated, truncated, _ = env.step(np.zeros((2, 2), np.float32))
        assert np.isfinite(obs).all()
        ends.append((terminated.any(), truncated.all()))
    assert ends == [(False, False), (False, True), (False, False)]


def test_arrays_are_the_callers_own() -> None:
    single: Any = gymnasium.make(NAME).unwrapped
    several = vector(2, max_episode_steps=1)
    arrays = [single.reset(seed=0)[0], single.step(np.zeros(2))[0], several.reset(seed=0)[0]]
    *step, infos = several.step(np.zeros((2, 2)))
    for array in (*arrays, *step, *infos["final_info"].values(), infos["final_obs"], infos["_final_obs"]):
        array[...] = 0


def test_no_other_module_registers_anything() -> None:
    import subprocess
    import sys

    code = "import sacbrax.evaluate, gymnasium; assert not any(n.startswith('sacbrax') for n in gymnasium.registry)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("wrong", [{"name": "swimer"}, {"engine": "warped"}])
def test_mistakes_are_the_registrys(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="choose from"):
        TaskVectorEnv(1, **wrong)  # type: ignore[arg-type]
