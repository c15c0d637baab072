"""Virtual environments of our own for programs that need other packages: made on first use, below the user's cache
directory, from pinned versions; and what runs a program in them."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sacbrax.cli import cache_dir
from sacbrax.core.signals import Interrupt


def environment(name: str, pins: str, arguments: Sequence[str]) -> str:
    """The interpreter of the environment `name`, into which `pip install` with these arguments went; `pins` is what
    they install, and another text is another environment. RuntimeError says why it cannot be had."""
    tag = hashlib.sha256(f"{sys.version}\n{pins}".encode()).hexdigest()[:12]
    home = cache_dir() / f"{name}-{tag}"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (home / "ready").exists():
        print(f"installing {Path(name).name} into {home}", flush=True)
        command([sys.executable, "-m", "venv", "--clear", str(home)])
        command([str(python), "-m", "pip", "install", "--quiet", *arguments])
        (home / "ready").touch()
    return str(python)


def command(words: list[str], timeout: float | None = None, env: dict[str, str] | None = None) -> str:
    """What a program wrote to standard output. RuntimeError with the last line of its complaint if it fails."""
    reads, writes = os.pipe()  # its far end closes with this process, however that ends; a driver may watch it
    try:
        with Interrupt(raises=True):  # a signal becomes an exception, on whose way out the program is killed
            done = subprocess.run(words, stdin=reads, capture_output=True, text=True, timeout=timeout, env=env)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no end after {timeout:.0f} s") from None
    finally:
        os.close(reads)
        os.close(writes)
    if done.returncode:
        complaint = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise RuntimeError(complaint[-1] if complaint else f"exit status {done.returncode}")
    return done.stdout
