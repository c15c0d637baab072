"""Videos, animated pictures and pages of an episode: what they show, and the player in a real browser."""

import itertools
import json
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from browser import Tab, needs_browser, open_page, tab
from PIL import Image, ImageSequence

from sacbrax import render
from sacbrax.core.errors import RunError
from sacbrax.policy_file.files import load_policy
from sacbrax.policy_file.numpy_policy import NumpyPolicy
from sacbrax.view import episode_page, offscreen, shapes, video
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
    said = ["playing an episode ...", *(f"drawing {out} ..." for out in outs)]
    assert (done.returncode, done.stderr.splitlines(), done.stdout.split()) == (0, said, outs)
    with Image.open(outs[0]) as image:
        pictures = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
        assert image.info["duration"] == 120
    assert len(pictures) == 7
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


def unpacked(episode: Episode) -> tuple[dict[str, Any], list[np.ndarray], np.ndarray]:
    """What the script of a page unpacks: its mapping, the vertices of each mesh, and the tracks [C, T]."""
    head, packed = episode_page._data(episode)
    words, meshes = np.frombuffer(zlib.decompress(packed), "<u2"), []
    for vertices, faces, low, step in head["meshes"]:
        meshes.append(words[: 3 * vertices].reshape(-1, 3) * np.array(step) + low)
        assert words[3 * vertices : 3 * (vertices + faces)].max() == vertices - 1
        words = words[3 * (vertices + faces) :]
    tracks = np.cumsum(words.reshape(-1, head["frames"]), axis=1, dtype=np.uint16)
    return head, meshes, tracks * np.array(head["step"])[:, None] + np.array(head["low"])[:, None]


def test_the_page_holds_the_poses_of_mujoco(episode: Episode) -> None:
    head, meshes, tracks = unpacked(episode)
    assert (head["bodies"], head["view"], head["frames"]) == (3, "above", 51)
    np.testing.assert_allclose(tracks[21], episode.returns, atol=1e-3)
    np.testing.assert_allclose(tracks[22][1:], episode.reward, atol=1e-4)
    np.testing.assert_allclose(tracks[23:, 1:], episode.action.T, atol=1e-4)
    # Every vertex of every capsule is where MuJoCo has its surface, as far as 16 bits tell.
    data = mujoco.MjData(episode.model)
    for t in (0, 17, 50):
        data.qpos[:] = episode.qpos[t]
        mujoco.mj_forward(episode.model, data)
        for geom, name in zip(head["geoms"], range(1, 4), strict=True):
            place = tracks[7 * geom["body"] : 7 * geom["body"] + 7, t]
            points = meshes[geom["mesh"]]
            points = episode_page._turned(points, geom["quaternion"]) + geom["position"]
            points = episode_page._turned(points, place[3:] / np.linalg.norm(place[3:])) + place[:3]
            local = (points - data.geom_xpos[name]) @ data.geom_xmat[name].reshape(3, 3)
            radius, half = episode.model.geom_size[name, :2]
            off_axis = local - np.clip(local[:, 2:], -half, half) * [0, 0, 1]
            np.testing.assert_allclose(np.linalg.norm(off_axis, axis=1), radius, atol=1e-3)
    assert np.linalg.norm(np.diff(tracks[:2], axis=1), axis=0).max() < 0.1, "it moves on without a jump"


def test_a_long_episode_is_drawn_in_part(episode: Episode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode_page, "MOST_FRAMES", 20)
    head, _, tracks = unpacked(episode)
    assert (head["frames"], head["dt"]) == (17, pytest.approx(0.12))
    np.testing.assert_allclose(tracks[21], episode.returns[::3], atol=1e-3)


SHAPES = """<mujoco><asset>
<mesh name="pyramid" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/>
<hfield name="hill" nrow="2" ncol="3" size="2 1 4 1" elevation="0 0 0 0 0.5 1"/>
<material name="paint" rgba="0 1 0 0.5"/></asset><worldbody>
<geom type="plane" size="1 1 1"/><geom type="hfield" hfield="hill"/>
<body pos="0 0 3"><freejoint/>
<geom type="box" size="1 2 3"/><geom type="ellipsoid" size="1 2 3" material="paint"/>
<geom type="cylinder" size="1 2"/><geom type="capsule" size="1 2" rgba="0 0 0 0"/>
<geom type="sphere" size="0.5" group="3"/><geom type="mesh" mesh="pyramid"/></body></worldbody></mujoco>"""


def volume(mesh: shapes.Mesh) -> float:
    """Enclosed by a closed surface that is seen from outside."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.sum(a * np.cross(b, c)) / 6)


def test_every_kind_of_geom_becomes_triangles() -> None:
    model = mujoco.MjModel.from_xml_string(SHAPES)
    hill, box, ellipsoid, cylinder, mesh = shapes.solids(model)  # what is transparent or hidden is not drawn
    assert shapes.ground(model) == 0.0
    np.testing.assert_allclose(hill.mesh.vertices.min(axis=0), [-2, -1, 0])
    data, hit = mujoco.MjData(model), np.zeros(1, np.int32)
    mujoco.mj_forward(model, data)
    for x, y, z in hill.mesh.vertices * [0.999, 0.999, 1]:  # as deep as MuJoCo sees it from above
        depth = mujoco.mj_ray(model, data, np.array([x, y, 9.0]), np.array([0, 0, -1.0]), None, 1, 1, hit)
        assert 9.0 - depth == pytest.approx(z, abs=5e-3)
    np.testing.assert_allclose(ellipsoid.colour, [0, 1, 0, 0.5])
    volumes = [volume(geom.mesh) for geom in (box, ellipsoid, cylinder, mesh)]
    assert volumes == pytest.approx([48, 8 * np.pi, 4 * np.pi, 1 / 6], rel=0.03)
    capsule = shapes.triangles(model, 5)
    assert volume(capsule) == pytest.approx(4 * np.pi + 4 / 3 * np.pi, rel=0.03)


def test_meshes_become_coarser_until_a_page_holds_them() -> None:
    model = mujoco.MjModel.from_xml_string(SHAPES)
    meshes = [shapes.triangles(model, g) for g in (2, 3, 4, 7)]
    assert shapes.simplified(meshes) is meshes
    few = shapes.simplified(meshes, most=300)
    assert sum(len(mesh.faces) for mesh in few) <= 300
    assert [volume(mesh) for mesh in few] == pytest.approx([volume(mesh) for mesh in meshes], rel=0.2)


def test_a_page_of_a_robot_with_meshes_keeps_to_its_budget() -> None:
    """The Barkour quadruped of MuJoCo's own tests, over a thousand noisy steps on its height field: 400,000 triangles
    as its makers drew it."""
    folder = Path(mujoco.__file__).parent / "mjx" / "test_data" / "barkour_v0" / "assets"
    if not folder.is_dir():
        pytest.skip("this MuJoCo comes without its tests' models")
    model = mujoco.MjModel.from_xml_path(str(folder / "barkour_v0_mjx.xml"))
    noise = np.random.default_rng(0).normal(size=(1001, model.nq)) * 0.01
    qpos = model.key_qpos[0] + np.cumsum(noise, axis=0)
    steps, actions = np.zeros((1001, 1)), np.zeros((1000, model.nu))
    text = episode_page.page(Episode("barkour", "none", 0.02, steps, actions, np.zeros(1000), qpos, model), "a robot")
    assert 100e3 < len(text) < 1e6


def test_only_a_chain_of_equal_links_has_a_head(episode: Episode) -> None:
    assert shapes.chain_head(episode.model) == 1
    assert shapes.chain_head(mujoco.MjModel.from_xml_string(SHAPES)) is None


def test_the_page_escapes_and_loads_nothing(episode: Episode) -> None:
    text = episode_page.page(episode, "<script>alert(1)</script>")
    assert "<script>alert" not in text
    assert "http" not in text
    json.loads(re.search(r"parentElement, (.*),$", text, re.MULTILINE)[1])


@needs_browser
def test_the_player_in_a_browser(episode: Episode, tmp_path: Path) -> None:
    (tmp_path / "swim.html").write_text(episode_page.page(episode, "a swimmer"), encoding="utf-8")
    picture, console = open_page(tmp_path / "swim.html")
    assert console == []
    assert 0.005 < orange(picture).mean() < 0.1, "the swimmer is drawn"
    broken = episode_page.page(episode, "broken").replace("draw();", "nothing_of_that_name();", 1)
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    assert len(open_page(tmp_path / "broken.html")[1]) > 0, "the test would see an error"


MANY_EVENTS = """(() => {
  const picture = document.querySelector(".picture"), slider = document.querySelector("input");
  picture.setPointerCapture = () => {};
  const point = (kind, x) =>
    picture.dispatchEvent(new PointerEvent(kind, { pointerId: 1, buttons: 1, clientX: x, clientY: 200 }));
  point("pointerdown", 100);
  for (let i = 0; i < 300; i++) point("pointermove", 100 + i);
  point("pointerup", 400);
  for (let i = 0; i < 300; i++) {
    slider.value = i % 50;
    slider.dispatchEvent(new Event("input"));
  }
})()"""


@needs_browser
def test_the_mouse_moves_the_camera_and_the_time(episode: Episode, tmp_path: Path) -> None:
    (tmp_path / "swim.html").write_text(episode_page.page(episode, "a swimmer"), encoding="utf-8")
    with tab(tmp_path, 1000, 1000) as page:
        page.open((tmp_path / "swim.html").as_uri())
        page.wait("document.querySelector('input').value > 0")  # it plays by itself
        page.click(*page.middle("button"))
        assert page.run("document.querySelector('button').textContent") == "play"
        page.click(*page.middle("input"))
        assert now(page) == pytest.approx(25, abs=1), "the slider's middle is the episode's"
        x, y = page.middle(".traces")
        page.click(x + 68 / 2, y)  # the middle of the traces, right of their names
        assert now(page) == pytest.approx(25, abs=1)
        x, y = page.middle(".picture")
        views = [page.picture()]
        moves: tuple[Callable[[], None], ...] = (
            lambda: page.drag((x, y), (x + 150, y - 100)),
            lambda: page.drag((x, y), (x + 150, y), modifiers=SHIFT),
            lambda: page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-500),
        )
        for move in moves:
            move()
            views.append(settled(page))
        assert all((a != b).any(axis=-1).mean() > 0.03 for a, b in itertools.pairwise(views)), "turned, moved, closer"
        page.click(x, y, count=2)
        np.testing.assert_array_equal(settled(page), views[0])
        assert now(page) == pytest.approx(25, abs=1), "the camera is not the time"
        began = time.monotonic()
        page.run(MANY_EVENTS)
        settled(page)
        assert now(page) == 49
        assert time.monotonic() - began < 15, "one picture for many events; 600 take half a minute here"
        page.run("document.querySelector('select').value = '4'")
        page.click(*page.middle("button"))
        page.wait("document.querySelector('input').value < 49")  # from the start again
        assert page.errors == []


SHIFT = 8


def now(page: Tab) -> int:
    """The frame that the slider shows once the page has drawn."""
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return int(page.run("document.querySelector('input').value"))


def settled(page: Tab) -> np.ndarray:
    """What is seen after all that was asked for."""
    now(page)
    return page.picture()


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
