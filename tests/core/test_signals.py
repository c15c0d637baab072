"""Signals of a process of its own that loads no JAX: whoever has nothing to save ends at once, in one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sacbrax.core.signals import NUMBERS

HEED = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # also where the tests run under nohup
BEGIN = "from sacbrax.core.command import begin; begin()\n"
READY = "print('ready', flush=True)\n"
SWALLOWS = """
import gc
def grumble(phase, info):
    for _ in range(10_000): pass
gc.callbacks.append(grumble)  # as JAX has one: what a handler raises in it goes nowhere
while True: gc.collect()
"""
DEAF = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"  # minutes until it is at Python again
SAVES = """
from sacbrax.core.signals import Interrupt
import time
with Interrupt() as interrupt:
    interrupt.saves = True
    print('ready', flush=True)
    while interrupt.signal is None: time.sleep(0.01)
    print('saving', flush=True)
    time.sleep(SECONDS)
    raise SystemExit(128 + interrupt.signal)
"""
LIBRARY = """
import signal
from sacbrax.core.signals import NUMBERS, Interrupt
before = [signal.getsignal(number) for number in NUMBERS]
with Interrupt() as outer:
    outer.saves = True
    with Interrupt() as inner:
        inner.saves = True
        signal.raise_signal(signal.SIGUSR1)
    assert (outer.signal, inner.signal) == (None, signal.SIGUSR1)
assert [signal.getsignal(number) for number in NUMBERS] == before
"""


def start(code: str, *before: str) -> subprocess.Popen[str]:
    """`code` as a process that has just said a word."""
    command = [*before, sys.executable, "-c", ("" if before else HEED) + BEGIN + code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline(), process.communicate()
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()  # one that heard nothing would take a core for ever
    return process.returncode, errors


@pytest.mark.parametrize("number", NUMBERS)
def test_without_anything_to_save_a_signal_is_one_line_and_its_status(number: signal.Signals) -> None:
    process = start(READY + SWALLOWS)
    process.send_signal(number)
    assert end(process) == (128 + number, f"interrupted by {number.name}\n")


def test_a_main_thread_that_does_not_come_back_ends_too() -> None:
    process, begin = start(READY + DEAF), time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, "interrupted by SIGTERM\n")
    assert time.monotonic() - begin < 30


def test_who_saves_is_left_to_it() -> None:
    process = start(SAVES.replace("SECONDS", "0.1"))
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "")


def test_a_second_signal_does_not_wait() -> None:
    process = start(SAVES.replace("SECONDS", "60"))
    process.send_signal(signal.SIGHUP)
    assert process.stdout is not None
    assert process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "interrupted by SIGINT again, not saved\n")


def test_nohup_is_heeded() -> None:
    process = start(READY + "import time; time.sleep(60)", "sh", "-c", 'trap "" HUP; exec "$@"', "sh")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 143


@pytest.mark.parametrize("broken", ["full", "closed pipe", "none"])
def test_a_broken_standard_error_ends_nothing(broken: str, tmp_path: Path) -> None:
    """Nor is the status another one, which an interpreter that cannot flush at its end would give."""
    done = tmp_path / "done"
    work = f"import sys, warnings; [print('word', file=sys.stderr) for _ in range(5000)]; warnings.warn('x'); \
print('more', file=sys.stderr, flush=True); open({str(done)!r}, 'w').close(); raise SystemExit(3)"
    command, reads = [sys.executable, "-c", BEGIN + work], None
    if broken == "full":
        error = os.open("/dev/full", os.O_WRONLY)
    else:
        reads, error = os.pipe()
        os.close(reads)
    close = "2>&-" if broken == "none" else ""
    status = subprocess.run(["sh", "-c", f'exec "$@" {close}', "sh", *command], stderr=error).returncode
    os.close(error)
    assert (status, done.exists()) == (3, True)


def test_a_library_hears_signals_in_its_context_alone() -> None:
    """In a process that watches nothing: this one may, since a test that ran a command in it."""
    done = subprocess.run([sys.executable, "-c", HEED + LIBRARY], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_renderer_is_one_line_in_every_command() -> None:
    command = [sys.executable, "-c", BEGIN + "import mujoco"]
    for value, status in (("foo", 2), ("OFF", 0), ("", 0)):
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MUJOCO_GL": value})
        assert done.returncode == status, done.stderr
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MUJOCO_GL": "foo"})
    assert done.stderr == "error: MUJOCO_GL=foo: unknown; choose from egl, osmesa, glfw, or unset it\n"
