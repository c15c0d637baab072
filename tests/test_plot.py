"""The plot door on files alone: curves of runs, the Q surface of a policy file, its animation, and its refusals."""

import json

import numpy as np
import pytest
from PIL import Image, ImageSequence
from test_policies_numpy import A, O, saved

from sacbrax import plot, q_surface
from sacbrax.policy_file import load_policy


@pytest.fixture
def run(tmp_path):
    """A run directory with metrics and three light snapshots of a mixture policy."""
    directory = tmp_path / "run"
    (directory / "checkpoints").mkdir(parents=True)
    for i, steps in enumerate((0, 100, 2_000_000)):
        saved(directory / "checkpoints" / f"snapshot_{steps:012d}.npz", "gmm", seed=i)
    saved(directory / "checkpoints" / "best_policy.npz", "gmm", seed=2)
    rows = [
        {
            "env_steps": i * 100,
            "wall_seconds": 2.5 * i,
            "eval/return_mean": 10.0 * i,
            "eval/return_std": 1.0,
            "diag/x": 1,
        }
        for i in range(5)
    ]
    lines = [json.dumps(row) for row in rows]
    (directory / "metrics.jsonl").write_text("\n".join(lines) + '\n{"env_steps": 5')  # a line half written
    np.save(tmp_path / "observations.npy", np.random.default_rng(0).normal(size=(2, O)))
    return directory


def frames(path):
    """Every frame of a picture in shades of grey; none may be blank."""
    with Image.open(path) as image:
        found = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(image)]
    assert all(frame.std() > 5 for frame in found)
    return found


def test_curves_of_several_runs(run, tmp_path, capsys):
    out = tmp_path / "new" / "curves.png"
    assert plot.main([str(run), str(run), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    frames(out)
    assert plot.main([str(run), "--metric", "diag/x"]) == 0
    frames(run / "curves.png")


def test_curves_show_the_numbers_of_the_run(run, monkeypatch):
    rows = plot.read_metrics(run)
    assert [row["env_steps"] for row in rows] == [0, 100, 200, 300, 400]
    lines = {}

    def keep(out, write):
        for axis, name in zip(plot.load_matplotlib().gcf().axes, ("env_steps", "wall_seconds"), strict=True):
            lines[name] = axis.lines[0].get_xydata()

    monkeypatch.setattr(plot, "save", keep)
    plot.draw_curves([str(run)], run / "x.png")
    np.testing.assert_allclose(lines["env_steps"], [(100 * i, 10 * i) for i in range(5)])
    np.testing.assert_allclose(lines["wall_seconds"], [(2.5 * i, 10 * i) for i in range(5)])


def test_q_surface_as_a_frames(run, tmp_path):
    observations = ["--observations", str(tmp_path / "observations.npy")]
    assert plot.main([str(run), "--kind", "q_surface", *observations]) == 0
    frames(run / "q_surface.png")
    assert (
        plot.main(
            [str(run), "--kind", "q_surface", *observations, "--dims", "1", "0", "--out", str(tmp_path / "x.png")]
        )
        == 0
    )
    assert np.any(frames(tmp_path / "x.png")[0] != frames(run / "q_surface.png")[0])


def test_q_surface_as_an_animation_over_the_snapshots(run, tmp_path):
    out = tmp_path / "q.gif"
    observations = ["--observations", str(tmp_path / "observations.npy")]
    assert plot.main([str(run), "--kind", "q_surface", "--out", str(out), *observations]) == 0
    first, _, last = frames(out)
    assert np.any(first != last)


def test_surface_is_the_smallest_critic_on_the_grid(run):
    policy = load_policy(run)
    observation, star = np.ones(O, np.float32), np.asarray([0.3, -0.4], np.float32)
    values = np.asarray([-1.0, 0.0, 0.5], np.float32)
    q = q_surface.surface(policy, observation, star, [0, 1], values)
    assert q[2, 0] == pytest.approx(policy.q(observation, np.asarray([-1.0, 0.5])).min(), rel=1e-5)
    line = q_surface.surface(policy, observation, star, [1], values)
    assert line[1] == pytest.approx(policy.q(observation, np.asarray([0.3, 0.0])).min(), rel=1e-5)


def test_visited_observations_are_those_of_an_episode(run):
    seen = q_surface.visited_observations(load_policy(run), [0, 2], seed=0, imports=True)
    assert seen.shape == (2, O)
    np.testing.assert_array_equal(seen[:, 1], [0.0, 2.0])  # the probe shows the time


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nowhere"], "nowhere"),
        (["RUN", "RUN", "--kind", "q_surface"], "one run"),
        (["RUN", "--kind", "q_surface", "--dims", "0", "0"], "--dims"),
        (["RUN", "--kind", "q_surface", "--dims", "0", str(A)], "--dims"),
        (["RUN", "--kind", "q_surface", "--import", "--steps", "-1"], "--steps"),
        (["RUN", "--kind", "q_surface", "--import", "--steps", "99999"], "--steps"),
        (["RUN", "--kind", "q_surface", "--observations", "RUN"], "--observations"),
        (["RUN", "--metric", "train/nothing"], "--metric"),
        (["RUN", "--out", "RUN/x.nonsense"], "--out"),
        (["FILE", "--kind", "q_surface", "--out", "x.gif"], "snapshots"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(run, arguments, word, capsys):
    places = {"RUN": str(run), "FILE": str(run / "checkpoints" / "best_policy.npz")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    assert plot.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error:")
    assert error.count("\n") == 1
    assert word in error
