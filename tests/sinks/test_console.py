"""What a person sees of a run: on terminals of any width, and in a file."""

import io
import re
import sys
import threading

import pytest
from rich.console import Console

from sacbrax.sinks.console import Reporter
from sacbrax.sinks.status_line import StatusLine, wrapped

METRICS = {
    "env_steps": 1_817_600,
    "gradient_steps": 7_000,
    "wall_seconds": 12.3,
    "eval/return_mean": 347.2,
    "eval/return_std": 12.5,
    "time/env_steps_per_second": 1_234_567.0,
    "time/gradient_steps_per_second": 4_321.0,
}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen(io.StringIO):
    """A terminal that remembers."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return [100.0]


def shown(line: StatusLine, width: int) -> str:
    """What a terminal of so many columns shows of it."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(line)
    return capture.get().rstrip("\n")


def test_the_bar_is_one_line_on_every_terminal(now: list[float]) -> None:
    """The counter is never cut; where there is little room the least important goes."""
    line = StatusLine(10_000_000_000, clock=lambda: now[0])
    line.at("training")
    line.progress(0, "23.4 GiB")
    now[0] += 60
    line.progress(1_234_567_890, "23.4 GiB")
    line.status = "return -1234.5 ± 123.4"
    for width in range(20, 200):
        text = shown(line, width)
        assert len(text) <= width
        assert "\n" not in text
        if width >= 55:
            assert "1,234,567,890/10,000,000,000 env steps" in text
            assert "━" * 5 in text
    counter = "1,234,567,890/10,000,000,000 env steps"
    assert shown(line, 80) == f"{'━' * 22} {counter}  0:01:00  training"
    assert shown(line, 110).endswith(f"{counter}  0:01:00  0:07:06 left  return -1234.5 ± 123.4  training")
    assert shown(line, 120).endswith(f"{counter}  0:01:00  0:07:06 left  return -1234.5 ± 123.4  23.4 GiB  training")


def test_the_bar_is_as_long_as_the_run_is_far(now: list[float]) -> None:
    line = StatusLine(200, clock=lambda: now[0])
    for steps, full in ((0, 0), (50, 10), (200, 40), (208, 40)):  # the last vector step may go beyond
        line.progress(steps, "")
        assert [len(text) for text, style in line.parts(150) if style == "bar.complete"] == [full]


def test_until_training_the_line_counts_the_seconds_of_what_is_done(now: list[float]) -> None:
    line = StatusLine(100, clock=lambda: now[0])
    line.at("compiling advance, evaluate")
    now[0] += 7
    line.at("compiling advance")
    now[0] += 5
    assert shown(line, 80) == "compiling advance  12 s"
    line.at("exploring")
    now[0] += 3
    assert shown(line, 80) == "exploring  3 s"
    assert shown(line, 8) == "explori…"
    line.at("")
    assert shown(line, 80) == ""


@pytest.mark.parametrize("width", [30, 80, 120])
def test_lines_break_between_words(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    reporter = Reporter(3_097_600)
    news = (
        "memory on the device: 21.4 MiB (replay 21.0 MiB, environments 0.0 MiB, networks 0.2 MiB, evaluation 0.0 MiB)"
    )
    path = "run directory /a/path/that-is-longer/than-thirty-columns/runs/swimmer"
    for line in (news, path):
        reporter.say(line)
    reporter.warn("a disk's refusal to take a line of the log, which could not be written; training goes on")
    reporter.progress(1_817_600, lambda: "1.2 GiB")
    reporter.evaluation(METRICS)
    reporter.close()
    text = ESCAPES.sub("", screen.getvalue()).replace("\r", "\n")
    longest = max(width, len(path.split()[-1]) + 2)
    assert all(len(line) <= longest for line in text.splitlines())
    for line in (news, path):
        assert line in " ".join(text.split())
    assert ("1,234,567 env steps/s" in text) == (width == 120)
    assert "return 347.2 ± 12.5" in " ".join(text.split())


def test_a_file_has_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setenv("COLUMNS", "80")
    reporter = Reporter(3_097_600)
    reporter.say("word " * 40)
    with reporter.compiling(["advance", "evaluate"]) as done:
        threads = [threading.Thread(target=done, args=(name,)) for name in ("evaluate", "advance")]
        for thread in threads:
            thread.start()
            thread.join()
    reporter.progress(1_817_600, lambda: "1.2 GiB")
    reporter.evaluation(METRICS)
    reporter.close()
    assert file.getvalue().splitlines() == [
        "word " * 40,
        "compiling advance, evaluate ...",
        "   12.3 s     1,817,600 env steps      7,000 updates  return   347.2 ± 12.5  "
        "1,234,567 env steps/s  4,321 updates/s",
    ]


def test_a_program_that_takes_long_is_named_when_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    file, times = io.StringIO(), iter([0.0, 12.5, 13.0])
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr("sacbrax.sinks.console.time.perf_counter", lambda: next(times))
    reporter = Reporter(1)
    with reporter.compiling(["advance", "evaluate"]) as done:
        done("evaluate")
        assert reporter._status._activity == "compiling advance"
        done("advance")
    assert file.getvalue().splitlines()[1:] == ["compiled evaluate after 12.5 s", "compiled advance after 13.0 s"]


def test_words_stay_whole() -> None:
    assert wrapped("a bb/cc-dd ee", 4) == ["a", "  bb/cc-dd", "  ee"]
    assert wrapped("", 80) == [""]
