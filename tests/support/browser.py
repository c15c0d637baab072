"""Headless Chromium for tests: a page's screenshot, what it wrote to the console, and a hand on its mouse."""

import base64
import contextlib
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)")
PATIENCE = 120.0  # seconds that the browser has for an answer

# The browser reads commands from descriptor 3 and answers on descriptor 4.
AS_3_AND_4 = """import fcntl, os, sys
for number, pipe in enumerate([fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 10) for pipe in sys.argv[1:3]], start=3):
    os.dup2(pipe, number)
os.execv(sys.argv[3], sys.argv[3:])"""


def command(folder: Path, width: int, height: int) -> list[str]:
    """The browser, which may load nothing from outside: every host name leads nowhere. Its files are in `folder`."""
    return [
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
        f"--window-size={width},{height}",
    ]


def open_page(page: Path, width: int = 1000, height: int = 800) -> tuple[np.ndarray, list[str]]:
    """`open_url` of a file."""
    return open_url(page.resolve().as_uri(), page.parent, width, height)


def open_url(
    url: str, folder: Path, width: int = 1000, height: int = 800, seconds: float = 1.0
) -> tuple[np.ndarray, list[str]]:
    """Pixels [height, width, 3] after some seconds of the page's time, and the lines of its console, errors and all."""
    shot = folder / "screenshot.png"
    options = [f"--virtual-time-budget={1000 * seconds:.0f}", f"--screenshot={shot}", url]
    done = subprocess.run(
        [*command(folder, width, height), *options], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return np.asarray(Image.open(shot).convert("RGB")), console


class Tab:
    """An open page in real time, asked and moved by the browser's own protocol (Chrome DevTools) over two pipes."""

    def __init__(self, writes: int, reads: int):
        self._writes, self._reads, self._rest, self._number = writes, reads, b"", 0
        self.errors: list[str] = []  # that no script caught
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        self.call("Page.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, f"{method}: {answer}"
        return answer["result"]

    def open(self, url: str) -> None:
        """Load a page and wait for it."""
        self.call("Page.navigate", url=url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Until an expression in the page is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """mousePressed, mouseMoved, mouseReleased or mouseWheel at a place in the window."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 4, **more: Any) -> None:
        """Hold the left button from one place to another."""
        held: dict[str, Any] = {"button": "left", "buttons": 1, "clickCount": 1, **more}
        self.mouse("mousePressed", *start, **held)
        for i in range(1, steps + 1):
            self.mouse("mouseMoved", *(a + (b - a) * i / steps for a, b in zip(start, end, strict=True)), **held)
        self.mouse("mouseReleased", *end, **held)

    def click(self, x: float, y: float, count: int = 1) -> None:
        """Press and let go."""
        for n in range(1, count + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, button="left", clickCount=n)

    def middle(self, selector: str) -> tuple[float, float]:
        """Of the first element that a selector finds."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")
        return x, y

    def picture(self) -> np.ndarray:
        """Pixels [height, width, 3]."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reads], [], [], PATIENCE)
            assert ready, "the browser does not answer"
            more = os.read(self._reads, 2**20)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(message)
        if found.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(found["params"]["exceptionDetails"]))
        return found


@contextlib.contextmanager
def tab(folder: Path, width: int = 1000, height: int = 800) -> Iterator[Tab]:
    """A page to work with, in a browser that ends with the block."""
    theirs, writes = os.pipe()
    reads, their_writes = os.pipe()
    start = [sys.executable, "-c", AS_3_AND_4, str(theirs), str(their_writes)]
    line = [*start, *command(folder, width, height), "--remote-debugging-pipe"]
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(line, pass_fds=(theirs, their_writes), stdout=log, stderr=log)
    os.close(theirs)
    os.close(their_writes)
    try:
        page = Tab(writes, reads)
        size = {"width": width, "height": height}  # also narrower than a window can be
        page.call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)
        yield page
    finally:
        os.close(writes)
        os.close(reads)
        process.kill()
        process.wait()
