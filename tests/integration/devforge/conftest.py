"""A real forge process, accounts on it, and a real git client."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from factory.testing.forge_process import ForgeProcess, start_forge

_count = itertools.count(1)
PASSWORD = "correct-horse-1"
SCOPES = ("write:repository", "write:issue", "write:user", "write:organization")


@dataclass
class World:
    """A forge with accounts made on first mention. The process may be killed and started again on the same home."""

    home: Path
    process: ForgeProcess
    tokens: dict[str, str] = field(default_factory=dict)
    _open: list[httpx.Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.process.url

    def admin(self, method: str, path: str, body: object = None) -> httpx.Response:
        """A request over the admin socket."""
        transport = httpx.HTTPTransport(uds=str(self.process.admin_socket))
        with httpx.Client(transport=transport, base_url="http://forge", timeout=20) as client:
            return client.request(method, path, json=body)

    def token(self, who: str, *scopes: str, **more: object) -> str:
        """A token of an account; without scopes its usual one."""
        if who not in self.tokens:
            made = {
                "username": who,
                "email": f"{who}@example.test",
                "password": PASSWORD,
                "must_change_password": False,
            }
            assert self.admin("POST", "/api/v1/admin/users", made).status_code == 201
            self.tokens[who] = self._mint(who, SCOPES)
        return self._mint(who, scopes, **more) if scopes else self.tokens[who]

    def _mint(self, who: str, scopes: tuple[str, ...], **more: object) -> str:
        body = {"name": f"t{next(_count)}", "scopes": list(scopes), **more}
        made = self.admin("POST", f"/api/v1/admin/users/{who}/tokens", body)
        assert made.status_code == 201, made.text
        return str(made.json()["sha1"])

    def call(
        self, who: str | None, method: str, path: str, body: object = None, /, *, token: str = "",
        headers: dict[str, str] | None = None, **query: Any,
    ) -> httpx.Response:  # fmt: skip
        """One API request as an account (None: nobody)."""
        sent = dict(headers or {})
        if token or who:
            sent.setdefault("Authorization", f"token {token or self.token(str(who))}")
        if not self._open:
            self._open.append(httpx.Client(timeout=20, trust_env=False))
        return self._open[0].request(method, f"{self.url}/api/v1{path}", json=body, headers=sent, params=query or None)

    def ok(self, who: str | None, method: str, path: str, body: object = None, /, **query: Any) -> Any:
        """As :meth:`call`, checked, its JSON."""
        done = self.call(who, method, path, body, **query)
        assert done.status_code < 300, f"{method} {path}: {done.status_code} {done.text}"
        return done.json() if done.content else None

    def repo(self, *, private: bool = True, init: bool = True, **rights: str) -> str:
        """``ann/<name>``; ``rights`` are account -> permission."""
        name = f"r{next(_count)}"
        self.ok("ann", "POST", "/user/repos", {"name": name, "private": private, "auto_init": init})
        for who, permission in rights.items():
            self.token(who)
            self.ok("ann", "PUT", f"/repos/ann/{name}/collaborators/{who}", {"permission": permission})
        return f"ann/{name}"

    def remote(self, repo: str, who: str | None = "ann", token: str = "") -> str:
        """The clone URL with a login in it."""
        if who is None:
            return f"{self.url}/{repo}.git"
        return f"{self.url.replace('://', f'://{who}:{token or self.token(who)}@')}/{repo}.git"

    def bare(self, repo: str) -> Path:
        return self.home / "repos" / f"{repo}.git"

    def restart(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        else:
            assert self.process.stop() == 0
        self.process = start_forge(self.home)

    def close(self) -> None:
        for client in self._open:
            client.close()
        self._open.clear()
        self.process.stop()


@dataclass
class Git:
    """An ordinary git client with an empty HOME."""

    folder: Path

    def __call__(self, *argv: str, check: bool = True, protocol: int | None = None) -> subprocess.CompletedProcess[str]:
        config = ["-c", f"protocol.version={protocol}"] if protocol is not None else []
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.test", "GIT_COMMITTER_NAME": "C",
            "GIT_COMMITTER_EMAIL": "c@example.test", "LC_ALL": "C",
        }  # fmt: skip
        done = subprocess.run(
            ["git", *config, *argv], cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, f"git {argv}: {done.stderr}"
        return done

    def commit(self, message: str = "m", **files: str) -> str:
        """Write files (``__`` for a slash) and commit them; returns the commit's id."""
        for name, text in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self("add", "-A")
        self("commit", "-q", "--allow-empty", "-m", message)
        return self("rev-parse", "HEAD").stdout.strip()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("forge")
    made = World(home, start_forge(home))
    yield made
    made.close()


@pytest.fixture(scope="session")
def git_at() -> type[Git]:
    """``git_at(folder)``: a git client working there."""
    return Git


@pytest.fixture
def clone(world: World, tmp_path: Path) -> Any:
    """``clone(repo, who)``: a working copy with a remote that has the login in it."""
    number = itertools.count()

    def make(repo: str, who: str = "ann") -> Git:
        folder = tmp_path / f"w{next(number)}"
        folder.mkdir()
        git = Git(folder)
        git("clone", "-q", world.remote(repo, who), ".")
        return git

    return make
