"""Videos, animated pictures and pages of an episode: what they show, and the player in a real browser."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from browser import needs_browser, open_page
from PIL import Image, ImageSequence

from sacbrax import render
from sacbrax.core.errors import RunError
from sacbrax.policy_file.files import load_policy
from sacbrax.policy_file.numpy_policy import NumpyPolicy
from sacbrax.view import episode_page, offscreen, video
from sacbrax.view.episode import Episode, play


def can_draw() -> bool:
    try:
        offscreen.Screen(mujoco.MjModel.from_xml_string("<mujoco/>"), 16, 16).close()
    except RunError:
        return False
    return True


needs_renderer = pytest.mark.skipif(not can_draw(), reason="no OpenGL (Debian: libegl1 libgl1-mesa-dri)")


@pytest.fixture(scope="module")
def episode() -> Episode:
    """Two seconds of the pretrained swimmer in Gymnasium's own task."""
    return play(load_policy("swimmer"), "gymnasium", seed=0, steps=50)


def orange(picture: np.ndarray) -> np.ndarray:
    """Where the swimmer is, [H, W] bool: warm colours, which neither water nor text has."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return (red > 100) & (red - blue > 50) & (red > green)


def test_an_episode_is_what_gymnasium_does(episode: Episode) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    env = gymnasium.make("Swimmer-v5")
    observation, _ = env.reset(seed=0)
    for t in range(50):
        np.testing.assert_allclose(episode.observation[t], observation, atol=1e-5)
        np.testing.assert_array_equal(episode.qpos[t][2:], episode.observation[t][:3])
        observation, reward, *_ = env.step(episode.action[t])
        assert episode.reward[t] == pytest.approx(reward, abs=1e-5)
    assert episode.returns[-1] == pytest.approx(episode.reward.sum())
    assert (episode.dt, len(episode.qpos)) == (0.04, 51)


def test_an_episode_on_our_engine_earns_the_same(episode: Episode) -> None:
    ours = play(load_policy("swimmer"), seed=3)
    assert ours.qpos.shape == (1001, 5)
    assert ours.returns[-1] == pytest.approx(362.6, abs=15)
    assert ours.qpos[-1][0] - ours.qpos[0][0] == pytest.approx(ours.returns[-1] * ours.dt, abs=0.2)  # metres swum


@pytest.mark.parametrize("engine", ["gymnasium", None])
def test_an_action_is_held_for_as_many_steps_as_in_training(engine: str | None) -> None:
    found = load_policy("swimmer")
    policy = NumpyPolicy(found.header | {"env": found.header["env"] | {"action_repeat": 3}}, found.arrays)
    held, single = play(policy, engine, seed=0, steps=20), play(found, engine, seed=0, steps=1)
    assert (held.engine, held.dt) == (engine or "fused", pytest.approx(0.12))
    assert held.qpos is not None
    assert held.model is not None, "it can be drawn"
    np.testing.assert_array_equal(held.action[0], single.action[0])
    # The first action three times in Gymnasium's own task, from the same start.
    env: Any = pytest.importorskip("gymnasium").make("Swimmer-v5").unwrapped
    env.reset(seed=0)
    env.set_state(held.qpos[0].astype(float), held.observation[0][3:].astype(float))
    total = sum(env.step(held.action[0])[1] for _ in range(3))
    assert held.reward[0] == pytest.approx(total, abs=1e-4)
    np.testing.assert_allclose(held.qpos[1], env.data.qpos, atol=1e-4)


@needs_renderer
def test_frames_show_the_swimmer_and_the_numbers(episode: Episode) -> None:
    pictures = list(video.frames(episode, 10, (320, 240), "auto"))
    assert [picture.shape for picture in pictures] == [(240, 320, 3)] * 6
    for picture in pictures:
        assert 0.01 < orange(picture).mean() < 0.2
    text = [picture[:24, :150] for picture in pictures]
    assert all((part > 200).all(axis=-1).sum() > 30 for part in text), "white letters"
    assert np.abs(pictures[0].astype(int) - pictures[-1]).mean() > 5, "it moves"


@needs_renderer
def test_mp4(episode: Episode, tmp_path: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    video.write_mp4(tmp_path / "swim.mp4", video.frames(episode, 1, (160, 120), "auto"), episode.dt)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", tmp_path / "swim.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert all(fact in done.stderr for fact in (b"h264", b"160x120", b"25 fps"))
    decoded = np.frombuffer(done.stdout, np.uint8).reshape(-1, 120, 160, 3)
    assert len(decoded) == 51
    assert all(0.01 < orange(picture).mean() < 0.2 for picture in decoded)


@needs_renderer
def test_the_door_in_a_process_of_its_own(tmp_path: Path) -> None:
    outs = [str(tmp_path / "new" / f"swim.{kind}") for kind in ("gif", "html")]
    command = [sys.executable, "-m", "sacbrax.render", "swimmer", "--engine", "gymnasium", "--steps", "20"]
    done = subprocess.run(
        [*command, "--size", "160", "120", "--out", *outs], capture_output=True, text=True, timeout=300
    )
    said = ["playing an episode ...", *(f"drawing 20 steps into {out} ..." for out in outs)]
    assert (done.returncode, done.stderr.splitlines(), done.stdout.split()) == (0, said, outs)
    with Image.open(outs[0]) as image:
        pictures = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
        assert image.info["duration"] == 80
    assert len(pictures) == 11
    assert all(0.01 < orange(picture).mean() < 0.2 for picture in pictures)


def test_no_renderer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    arguments = ["swimmer", "--engine", "gymnasium", "--steps", "2"]
    assert render.main([*arguments, "--out", str(tmp_path / "swim.mp4")]) == 1
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: no renderer on this machine (nonsense: ")
    assert render.main([*arguments, "--out", str(tmp_path / "swim.html")]) == 0


def test_the_page_holds_the_capsules_of_mujoco(episode: Episode) -> None:
    data = episode_page._data(episode)
    ends = np.reshape(data["ends"], (51, 3, 2, 2)) / 1000
    # The tail joint of each link is where the next one begins: a chain of three links of one metre.
    np.testing.assert_allclose(np.linalg.norm(ends[:, :, 0] - ends[:, :, 1], axis=-1), 1.0, atol=2e-3)
    assert data["radius"] == pytest.approx([0.1] * 3)
    assert data["returns"][-1] == pytest.approx(episode.returns[-1], abs=0.01)
    joint = episode.qpos[:, :2] + 0.5 * np.stack([np.cos(episode.qpos[:, 2]), np.sin(episode.qpos[:, 2])], axis=1)
    gaps = np.linalg.norm(ends[:, 0, :, :] - joint[:, None], axis=-1).min(axis=1)
    np.testing.assert_allclose(gaps, 0.0, atol=2e-3)


def test_the_page_escapes_and_loads_nothing(episode: Episode) -> None:
    text = episode_page.page(episode, "<script>alert(1)</script>")
    assert "<script>alert" not in text
    assert "http" not in text
    json.loads(text[text.index("parentElement, ") + 15 : text.index(");\n</script>")])


@needs_browser
def test_the_player_in_a_browser(episode: Episode, tmp_path: Path) -> None:
    (tmp_path / "swim.html").write_text(episode_page.page(episode, "a swimmer"), encoding="utf-8")
    picture, console = open_page(tmp_path / "swim.html")
    assert console == []
    assert 0.005 < orange(picture).mean() < 0.1, "the swimmer is drawn"
    broken = episode_page.page(episode, "broken").replace("draw();", "nothing_of_that_name();", 1)
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    assert len(open_page(tmp_path / "broken.html")[1]) > 0, "the test would see an error"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["swimmer"], "--out"),
        (["nowhere", "--out", "x.gif"], "nowhere"),
        (["swimmer", "--out", "x.avi"], "--out"),
        (["swimmer", "--out", "x.mp4", "--size", "101", "100"], "--size"),
        (["swimmer", "--out", "x.mp4", "--steps", "0"], "--steps"),
        (["swimmer", "--engine", "gymnasium", "--steps", "2", "--out", "x.gif", "--camera", "no"], "--camera"),
        (["swimmer", "--engine", "gymnasium", "--steps", "2", "--out", "/proc/x.html"], "--out"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render.main(arguments) == 2
    *said, error = capsys.readouterr().err.splitlines()
    assert all(line.endswith("...") for line in said), "what it was at"
    assert error.startswith("error:")
    assert word in error
