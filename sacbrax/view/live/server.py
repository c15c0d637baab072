"""The page over HTTP: on this machine unless told otherwise, reading alone, and only what belongs to the page.

Whoever reads in a browser also visits other pages, so requests that those make are refused: by the name in `Host`,
which a foreign name that leads here would carry, and by what the browser says of a request's origin.
"""

import hashlib
import html
import ipaddress
import json
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sacbrax.core.errors import ConfigError, RunError
from sacbrax.view.curves import AXES
from sacbrax.view.episode_page import WEB
from sacbrax.view.live.directory import Directory
from sacbrax.view.live.episodes import Episodes

FILES = {
    "/": ("watch.html", "text/html; charset=utf-8"),
    "/watch.js": ("watch.js", "text/javascript; charset=utf-8"),
    "/watch.css": ("watch.css", "text/css; charset=utf-8"),
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; frame-src 'self'"
)
# A player has its script in it, and may do nothing else.
EPISODE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "sandbox allow-scripts"
)
IDLE_SECONDS = 60


class Server(ThreadingHTTPServer):
    """Serves one directory. Raises ConfigError where it cannot listen."""

    daemon_threads = True

    def __init__(self, host: str, port: int, directory: Directory):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.directory, self.episodes = directory, Episodes()
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            self.episodes.close()
            problem = getattr(error, "strerror", None) or error
            raise ConfigError(f"--port: cannot listen on {host}:{port}: {problem}; 0 takes a free one") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}/" if ":" in str(host) else f"http://{host!s}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who closes a page while its answer is on the way is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Stop listening and remove the episodes."""
        super().server_close()
        self.episodes.close()


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; every other method is an error, as the base class has it."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sacbrax", ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        """Find what is asked for."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        foreign = self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and url.path != "/"
        if foreign or not trusted(self.headers.get("Host", "")):
            self._error(HTTPStatus.FORBIDDEN, "another page asked for this")
        elif url.path in FILES:
            name, kind = FILES[url.path]
            self._send((WEB / name).read_bytes(), kind, PAGE_POLICY)
        elif url.path == "/api/runs":
            self._json(self.server.directory.listing())
        elif url.path == "/api/curves":
            self._curves(query)
        elif url.path == "/api/settings":
            self._json(self.server.directory.settings(query.get("run", [])))
        elif url.path == "/episode":
            self._episode(query.get("run", [""])[0])
        else:
            self._error(HTTPStatus.NOT_FOUND, "there is no such page")

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are nobody's news."""

    def _curves(self, query: dict[str, list[str]]) -> None:
        x = query.get("x", ["env_steps"])[0]
        found = self.server.directory.curves(query.get("run", [""])[0], query.get("metric", []), x)
        if found is None or x not in AXES:
            self._error(HTTPStatus.NOT_FOUND, "there is no such run or axis")
        else:
            self._json(found)

    def _episode(self, name: str) -> None:
        run = self.server.directory.run(name)
        try:
            if run is None:
                raise RunError("there is no such run")
            content = self.server.episodes.page(run)
        except RunError as error:
            content = f'<!DOCTYPE html><meta charset="utf-8"><p>No episode: {html.escape(str(error))}</p>'.encode()
        self._send(content, "text/html; charset=utf-8", EPISODE_POLICY)

    def _json(self, content: Any) -> None:
        self._send(json.dumps(content, separators=(",", ":"), allow_nan=False).encode(), "application/json")

    def _error(self, status: HTTPStatus, text: str) -> None:
        self._send(f"{text}\n".encode(), "text/plain; charset=utf-8", status=status)

    def _send(
        self, content: bytes, kind: str, policy: str = "default-src 'none'", status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        same = status is HTTPStatus.OK and self.headers.get("If-None-Match") == tag
        self.send_response(HTTPStatus.NOT_MODIFIED if same else status)
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        if not same:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not same and self.command != "HEAD":
            self.wfile.write(content)


def trusted(host: str) -> bool:
    """Whether a `Host` header names this machine by itself: by an address, `localhost` or its own name."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in ("localhost", socket.gethostname().lower())
    return True
