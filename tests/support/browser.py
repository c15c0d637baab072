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
    """Pixels [height, width, 3] after a second of the page's time, and the lines of its console, errors and all.

    The browser may load nothing from outside: every host name leads nowhere.
    """
    shot = page.with_suffix(".screenshot.png")
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--use-gl=angle",  # WebGL in software
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={page.parent / 'browser'}",
        "--virtual-time-budget=1000",
        f"--window-size={width},{height}",
        f"--screenshot={shot}",
        page.resolve().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return np.asarray(Image.open(shot).convert("RGB")), console
