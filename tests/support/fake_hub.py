"""As much of the Hugging Face Hub's HTTP as sharing a run takes, on this machine: repositories are dictionaries."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class FakeHub(ThreadingHTTPServer):
    """Owners' tokens are not checked, but remembered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.tokens: set[str] = set()
        self.unknown: list[str] = []  # what was asked for and is not here

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """The requests of huggingface_hub's create_repo, create_commit and hf_hub_download."""

    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        """Make a repository, or a commit of files in it."""
        content = self._content()
        match self.path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                made = json.loads(content)
                name = f"{made.get('organization') or 'me'}/{made['name']}"
                self.server.repositories.setdefault(name, {})
                self.server.private[name] = bool(made.get("private")) or made.get("visibility") == "private"
                self._json({"url": f"{self.server.url}/{name}", "id": name, "name": name})
            case ["api", "validate-yaml"]:
                self._json({"errors": [], "warnings": []})
            case ["api", "models", _, _, "preupload", "main"]:
                paths = [file["path"] for file in json.loads(content)["files"]]
                self._json({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]})
            case ["api", "models", owner, name, "commit", "main"]:
                for line in content.splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        data = base64.b64decode(entry["value"]["content"])
                        self.server.repositories[f"{owner}/{name}"][entry["value"]["path"]] = data
                self._json({"commitUrl": f"{self.server.url}/{owner}/{name}/commit/1", "commitOid": "1" * 40})
            case _:
                self._missing("")

    def do_GET(self) -> None:
        """A file, or with HEAD what is known of it."""
        self._content()
        match unquote(self.path).strip("/").split("/"):
            case [owner, name, "resolve", "main", *path]:
                if (files := self.server.repositories.get(f"{owner}/{name}")) is None:
                    return self._missing("RepoNotFound")
                if (data := files.get("/".join(path))) is None:
                    return self._missing("EntryNotFound")
                etag = hashlib.sha1(data).hexdigest()
                self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": "1" * 40, "Accept-Ranges": "bytes"})
            case _:
                self._missing("")

    do_HEAD = do_GET

    def _content(self) -> bytes:
        self.server.tokens.add(self.headers.get("Authorization", ""))
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, answer: Any) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str) -> None:
        if not code:
            self.server.unknown.append(f"{self.command} {self.path}")
        self._send(404, b"", {"X-Error-Code": code})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextlib.contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Serve while in the context."""
    with FakeHub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
