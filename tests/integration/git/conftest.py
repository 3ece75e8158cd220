"""A plain git user, bare repos, and git over HTTP as any forge serves it."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from factory.git import objects
from factory.git.transport import Remote
from factory.git.values import Signature
from factory.git.view import View, open_view, refresh

WHO = Signature("Dev Bot", "dev-bot@factory.invalid", 1_700_000_000)

# What a session or a person has around git: nothing of the factory's own clean environment.
USER_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
    "GIT_AUTHOR_NAME": "Somebody",
    "GIT_AUTHOR_EMAIL": "s@example.invalid",
    "GIT_COMMITTER_NAME": "Somebody",
    "GIT_COMMITTER_EMAIL": "s@example.invalid",
}

UserGit = Callable[..., str]


@pytest.fixture
def user_git(tmp_path: Path) -> UserGit:
    """Run git as a session or a person would: ``user_git(folder, "commit", ...)``; the words it printed."""
    home = tmp_path / "home"
    home.mkdir()

    def call(folder: Path, *args: str, input: bytes | None = None, check: bool = True, **env: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=folder, env=USER_ENV | {"HOME": str(home)} | env, input=input, capture_output=True
        )
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    return call


@dataclass(frozen=True)
class Project:
    """A project's bare repo with one commit on main, the remote to it, and an empty local repo to work from."""

    bare: Path
    remote: Remote
    local: Path
    base: str

    def commit(self, message: str, changes: dict[str, bytes | None] | None = None, parent: str | None = None) -> str:
        return objects.build_commit(
            self.local,
            parent=parent,
            changes=changes if changes is not None else {"note.txt": message.encode()},
            message=message,
            author=WHO,
            committer=WHO,
        )

    def refs(self) -> dict[str, str]:
        return objects.list_refs(self.bare)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    bare, local = tmp_path / "forge" / "project.git", tmp_path / "local.git"
    objects.init_bare(bare)
    objects.init_bare(local)
    base = objects.build_commit(
        bare,
        parent=None,
        changes={"README.md": b"# demo\n", "src/app.py": b"x = 1\n"},
        message="Start",
        author=WHO,
        committer=WHO,
    )
    objects.create_ref(bare, "refs/heads/main", base)
    made = Project(bare, Remote(str(bare)), local, base)
    same = made.commit("Start", {"README.md": b"# demo\n", "src/app.py": b"x = 1\n"})
    assert same == base
    return made


@pytest.fixture
def view(project: Project, tmp_path: Path) -> View:
    made = open_view(tmp_path / "cache" / "view.git")
    refresh(made, project.remote, base="main")
    return made


@dataclass
class Served:
    """What the HTTP server did and how it should misbehave."""

    url: str
    remote: Remote
    root: Path
    seen: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    on_request: Callable[[str], None] | None = None
    refuse: Callable[[str], int | None] = lambda _path: None
    lose_answer: Callable[[str], bool] = lambda _path: False
    redirect_to: str | None = None


Serve = Callable[[], Served]


@pytest.fixture
def serve(project: Project) -> Iterator[Serve]:
    """Start servers of the project's folder over HTTP with Basic authentication; all end with the test."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start() -> Served:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        url = f"http://127.0.0.1:{server.server_port}"
        served = Served(
            url, Remote(f"{url}/project.git", "dev-bot", f"tok-{secrets.token_hex(12)}"), project.bare.parent
        )
        server.served = served  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return served

    objects_config = project.bare / "config"
    objects_config.write_text(objects_config.read_text() + "[http]\n\treceivepack = true\n")
    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        served: Served = self.server.served  # type: ignore[attr-defined]
        served.seen.append(f"{self.command} {self.path}")
        if self.headers.get("Authorization"):
            served.logins.append(self.headers["Authorization"])
        if served.redirect_to is not None:
            return self._plain(302, ("Location", served.redirect_to + self.path))
        expected = "Basic " + base64.b64encode(f"dev-bot:{served.remote.token}".encode()).decode()
        if self.headers.get("Authorization") != expected:
            return self._plain(401, ("WWW-Authenticate", 'Basic realm="forge"'))
        if served.on_request is not None:
            served.on_request(self.path)
        if (status := served.refuse(self.path)) is not None:
            return self._plain(status)
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.defpath,
            "GIT_PROJECT_ROOT": str(served.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "dev-bot",
        }
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True)
        if served.lose_answer(self.path):
            return self._plain(502)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        rows = [line.split(": ", 1) for line in head.decode().splitlines()]
        headers = [(key, value) for key, value in rows if key != "Status"]
        status = next((int(value.split()[0]) for key, value in rows if key == "Status"), 200)
        return self._plain(status, *headers, content=content)

    def _plain(self, status: int, *headers: tuple[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
