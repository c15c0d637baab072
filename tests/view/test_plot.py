"""The plot door on files alone: curves of runs, the Q surface of a policy file, its animation, and its refusals."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image, ImageSequence
from saved_policies import A, O, saved
from tiny_config import make_tiny

from sacbrax import plot
from sacbrax.policy_file.files import load_policy
from sacbrax.view import curves, q_surface
from sacbrax.view.figures import load_matplotlib


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


def test_curves_show_the_numbers_of_the_run(run):
    (curve,) = curves.gather([run])
    np.testing.assert_array_equal(curve.x["env_steps"], [0, 100, 200, 300, 400])
    np.testing.assert_array_equal(curve.x["wall_seconds"], [0, 2.5, 5, 7.5, 10])
    np.testing.assert_array_equal(curve.values, [[0, 10, 20, 30, 40]])
    np.testing.assert_array_equal(curve.band(), [[-1, 9, 19, 29, 39], [1, 11, 21, 31, 41]])
    figure = curves.draw(load_matplotlib(), [curve])
    for axis, name in zip(figure.axes, curves.AXES, strict=True):
        np.testing.assert_array_equal(axis.lines[0].get_xdata(), curve.x[name])
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), curve.values[0])
        assert axis.get_xlabel()
    assert "[s]" in figure.axes[2].get_xlabel()
    load_matplotlib().close(figure)


BAD_ROWS = [
    '{"env_steps": "abc", "eval/return_mean": 1}',
    '{"env_steps": NaN, "eval/return_mean": NaN}',
    '{"env_steps": 1e308, "eval/return_mean": 1}',
    '{"env_steps": 9, "eval/return_mean": 1e308}',
    '{"env_steps": 9, "eval/return_mean": -Infinity}',
    '{"env_steps": 9, "eval/return_mean": [1]}',
    '{"env_steps": 9, "eval/return_mean": true}',
    '{"eval/return_mean": 1}',
    '{"env_steps": 1%s, "eval/return_mean": 1}' % ("0" * 400),
    "[1, 2]",
    "{",
]


def test_rows_that_no_picture_can_show_are_left_out(run, tmp_path, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "metrics.jsonl").write_text("\n".join(BAD_ROWS))
    assert plot.main([str(alone), "--out", str(tmp_path / "alone.png")]) == 2
    assert capsys.readouterr().err == f"error: {alone}: no evaluation in metrics.jsonl yet\n"
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text("\n".join([*BAD_ROWS, text]))
    assert plot.main([str(run), "--out", str(tmp_path / "run.png")]) == 0
    assert curves.gather([run])[0].values.tolist() == [[0, 10, 20, 30, 40]]


def test_names_are_shown_as_they_are(run, tmp_path):
    names = ["a$b$", "_private", "$\\frac$", "100%"]
    for name in names:
        shutil.copytree(run, tmp_path / "runs" / name)
    plt = load_matplotlib()
    figure = curves.draw(plt, curves.gather([tmp_path / "runs" / name for name in names]))
    shown = [text.get_text().replace(r"\$", "$").strip() for text in figure.legends[0].get_texts()]
    assert shown == names
    figure.savefig(tmp_path / "names.png")
    plt.close(figure)


def write_run(directory, returns, *overrides):
    """A run directory with these returns, [T] or with seeds [S, T], 100 env steps apart."""
    directory.mkdir()
    (directory / "config.yaml").write_text(make_tiny(*overrides).to_yaml())
    returns = np.atleast_2d(returns)
    lines = []
    for t, values in enumerate(returns.T):
        row = {"env_steps": 100 * t, "gradient_steps": 10 * t, "wall_seconds": 1.0 * t, "eval/return_std": 1.0}
        row["eval/return_mean"] = float(values.mean())
        if len(values) > 1:
            row |= {f"seed_{i}/eval/return_mean": float(value) for i, value in enumerate(values)}
        lines.append(json.dumps(row))
    (directory / "metrics.jsonl").write_text("\n".join(lines))
    return directory


def test_seeds_of_one_configuration_are_one_curve(tmp_path):
    runs = [
        write_run(tmp_path / "a", [[0, 4], [2, 8]], "train.num_seeds=2"),
        write_run(tmp_path / "b", [1, 6, 7], "train.seed=5"),  # it got further
        write_run(tmp_path / "c", [0, 1], "algorithm.gamma=0.5", "logging.tensorboard=true"),
        write_run(tmp_path / "d", [0, 2], "algorithm.gamma=0.5", "env.num_envs=8"),
    ]
    first, second, third = curves.gather(runs)
    np.testing.assert_array_equal(first.values, [[0, 4], [2, 8], [1, 6]])
    np.testing.assert_array_equal(first.centre(), [1, 6])
    low, high = first.band()
    assert (low[1], high[1]) == (4, 8)  # 27 equally likely draws: each end is one of them, above 2.5 %
    assert first.label == "num_envs=4, gamma=0.9 (3 seeds)"
    assert second.label == "num_envs=4, gamma=0.5"
    assert third.label == "num_envs=8, gamma=0.5"
    assert "bootstrap" in curves.band_meaning([first, second])
    assert "standard deviation over episodes" in curves.band_meaning([first, second])


def test_each_task_has_its_own_column_and_scale(tmp_path):
    swimmer = ("env.name=swimmer", "env.num_envs=2")
    runs = [
        write_run(tmp_path / "a", [0, 1]),
        write_run(tmp_path / "b", [100, 900], *swimmer),
        write_run(tmp_path / "c", [100, 800], *swimmer, "algorithm.gamma=0.5"),
    ]
    found = curves.gather(runs)
    assert [curve.label for curve in found] == ["sac_v2", "gamma=0.9", "gamma=0.5"], "labels compare within a task"
    figure = curves.draw(load_matplotlib(), found, x=["env_steps"])
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("probes:Cue", "swimmer")
    assert (len(first.lines), len(second.lines)) == (1, 2)
    assert first.get_ylim()[1] < 10 < 900 < second.get_ylim()[1]
    load_matplotlib().close(figure)
    out = tmp_path / "tasks.png"
    assert plot.main([*map(str, runs), "--x", "env_steps", "gradient_steps", "--out", str(out)]) == 0
    frames(out)


def test_a_figure_says_what_it_shows(tmp_path):
    """The task, of one run its name, what the band is; and no tick reads as milli."""
    plt = load_matplotlib()
    runs = [write_run(tmp_path / "first", [0, 1]), write_run(tmp_path / "b", [0, 2], "algorithm.gamma=0.5")]
    alone = curves.draw(plt, curves.gather(runs[:1]))
    assert alone.get_suptitle() == "probes:Cue: first"
    assert alone.get_supxlabel() == "band: one standard deviation over episodes"
    together = curves.draw(plt, curves.gather(runs))
    assert together.get_suptitle() == "probes:Cue"
    (legend,) = together.legends
    assert [text.get_text() for text in legend.get_texts()] == ["gamma=0.9", "gamma=0.5"]
    assert legend.get_title().get_text().startswith("band: ")
    (tmp_path / "first" / "metrics.jsonl").write_text(
        json.dumps({"env_steps": 100, "gradient_steps": 0, "wall_seconds": 0.01, "eval/return_mean": 0.001})
    )
    early = curves.draw(plt, curves.gather(runs[:1]))
    early.canvas.draw()
    ticks = [label.get_text() for axis in early.axes for label in axis.get_xticklabels() + axis.get_yticklabels()]
    assert not any("m" in tick for tick in ticks)
    assert [curves.short_number(x) for x in (0.01, 250.0, 1500, 2_500_000)] == ["0.01", "250", "1.5k", "2.5M"]
    plt.close("all")


def test_many_differences_are_left_to_the_names(tmp_path):
    more = [f"algorithm.{key}" for key in ("gamma=0.5", "tau=0.5", "n_step=3", "learning_rate=0.5", "reward_scale=2")]
    runs = [write_run(tmp_path / "a", [0, 1]), write_run(tmp_path / "b", [0, 2], *more)]
    assert [curve.label for curve in curves.gather(runs)] == ["a", "b"]


def test_settings_are_written_as_people_write_them():
    schedule = {"schedule": "linear", "values": [0.003, 0.001], "boundaries": [8000]}
    shown = [curves.in_words(value) for value in (schedule, [64, 64], None, True, 262144, 1e-3, "gmm", {"a": 1})]
    assert shown == ["0.003 → 0.001 at 8,000 (linear)", "64, 64", "null", "true", "262,144", "0.001", "gmm", "a: 1"]


def test_the_same_seed_twice_is_not_two_seeds(tmp_path):
    runs = [write_run(tmp_path / name, [0, 1]) for name in "ab"]
    assert [curve.label for curve in curves.gather(runs)] == ["a", "b"]


def test_the_bootstrap_interval_covers_the_mean(tmp_path):
    """Of 200 experiments of 16 seeds with a known mean nearly 95 % have it in their band; the bootstrap is narrow."""
    draws = np.random.default_rng(1).normal(3.0, 2.0, size=(16, 200))
    low, high = curves.Curve("", {}, draws, None).band()
    assert 0.85 < np.mean((low < 3.0) & (high > 3.0)) < 0.99


def test_svg(run, tmp_path):
    assert plot.main([str(run), "--out", str(tmp_path / "curves.svg")]) == 0
    text = (tmp_path / "curves.svg").read_text()
    assert text.startswith("<?xml")
    assert "<svg" in text


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


def test_q_surface_has_a_scale_and_says_what_star_and_dots_are(run, tmp_path):
    options = ["--observations", str(tmp_path / "observations.npy"), "--out", str(tmp_path / "q.svg")]
    with load_matplotlib().rc_context({"svg.fonttype": "none"}):  # text as text
        assert plot.main([str(run), "--kind", "q_surface", *options]) == 0
    text = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "q.svg").read_text())
    assert {"Q", "action 0", "action 1", "actions the policy draws", "its deterministic action"} <= set(text)


def test_surface_is_the_smallest_critic_on_the_grid(run):
    policy = load_policy(run)
    observation, star = np.ones(O, np.float32), np.asarray([0.3, -0.4], np.float32)
    values = np.asarray([-1.0, 0.0, 0.5], np.float32)
    q = q_surface.surface(policy, observation, star, [0, 1], values)
    assert q[2, 0] == pytest.approx(policy.q(observation, np.asarray([-1.0, 0.5])).min(), rel=1e-5)
    line = q_surface.surface(policy, observation, star, [1], values)
    assert line[1] == pytest.approx(policy.q(observation, np.asarray([0.3, 0.0])).min(), rel=1e-5)


@pytest.mark.parametrize(
    "observations",
    [np.zeros((2, O + 1)), np.zeros((0, O)), np.zeros((2, 3, O)), np.full(O, np.nan), np.zeros((1, O), complex)],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_observations_that_cannot_be_are_one_line(run, tmp_path, observations, capsys):
    np.save(tmp_path / "wrong.npy", observations)
    assert plot.main([str(run), "--kind", "q_surface", "--observations", str(tmp_path / "wrong.npy")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --observations: ")
    assert error.count("\n") == 1


def test_visited_observations_are_those_of_an_episode(run):
    seen, steps = q_surface.visited_observations(load_policy(run), [0, 2], seed=0, imports=True)
    assert seen.shape == (2, O)
    np.testing.assert_array_equal(seen[:, 1], [0.0, 2.0])  # the probe shows the time
    assert steps == [0, 2]


def test_the_usual_observations_are_those_that_an_episode_has(run, monkeypatch):
    monkeypatch.setattr(q_surface, "USUAL", (0, 1, 10**6))
    seen, steps = q_surface.visited_observations(load_policy(run), None, seed=0, imports=True)
    np.testing.assert_array_equal(seen[:, 1], steps)
    assert steps == [0, 1]


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
        (["RUN", "--kind", "q_surface", "--samples", "0"], "--samples"),
        (["RUN", "--metric", "train/nothing"], "--metric"),
        (["RUN", "--metric", "eval/return_maen"], "did you mean eval/return_mean"),
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
