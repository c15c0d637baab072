"""Headless Chromium for tests: a page's screenshot and what it wrote to the console."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)")


def open_page(page: Path, width: int = 1000, height: int = 800) -> tuple[np.ndarray, list[str]]:
    """`open_url` of a file."""
    return open_url(page.resolve().as_uri(), page.parent, width, height)


def open_url(
    url: str, folder: Path, width: int = 1000, height: int = 800, seconds: float = 1.0
) -> tuple[np.ndarray, list[str]]:
    """Pixels [height, width, 3] after some seconds of the page's time, and the lines of its console, errors and all.

    The browser may load nothing from outside: every host name leads nowhere. It keeps its files in `folder`.
    """
    shot = folder / "screenshot.png"
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--use-gl=angle",  # WebGL in software
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        f"--user-data-dir={folder / 'browser'}",
        f"--virtual-time-budget={1000 * seconds:.0f}",
        f"--window-size={width},{height}",
        f"--screenshot={shot}",
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return np.asarray(Image.open(shot).convert("RGB")), console
