"""Somebody who sets factories up, in this process: the command's words in, its two streams and its ending out."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from factory.app.services import forge_home
from factory.config.host import load_host
from factory.forge.client import ForgejoClient
from tests.integration.cli.person import Ran, commands, free_port, git, spoken

CI = "python3 -c 'import hello'"


@dataclass
class Somebody:
    """``folder`` holds what they have; their factory's home is in it, unless they say otherwise."""

    folder: Path
    port: int = field(default_factory=free_port)
    web: int = field(default_factory=free_port)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def project(self, name: str = "hello", branch: str = "main", **files: str) -> Path:
        """A git repository with one commit."""
        where = self.folder / name
        where.mkdir(parents=True)
        for path, text in {"hello.py": f"NAME = {name!r}\n", **files}.items():
            (where / path).parent.mkdir(parents=True, exist_ok=True)
            (where / path).write_text(text, encoding="utf-8")
        git(where, "init", "-q", "-b", branch)
        git(where, "add", "-A")
        git(where, "commit", "-q", "-m", f"Begin {name}")
        return where

    def run(self, *words: str | Path, code: int | None = 0, home: Path | None = None) -> Ran:
        """``factory words...``; ``code`` None takes any ending."""
        told = {**os.environ, "FACTORY_HOME": str(home or self.home)}
        ran = spoken([str(word) for word in words], told, Path.cwd())
        assert code is None or ran.code == code, f"factory {words} ended with {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def init(self, *words: str | Path, code: int | None = 0, home: Path | None = None) -> Ran:
        """``factory init`` on ports of their own, with a line for CI that needs nothing."""
        ports = ("--port", str(self.port), "--web-port", str(self.web))
        return self.run("init", *words, *ports, "--ci", CI, code=code, home=home)

    def follow(self, ran: Ran, **meant: str | Path) -> list[Ran]:
        """Run every factory command that a screen names; none may be unknown or misspelt."""
        done = []
        for words in commands(ran.err) + commands(ran.out):
            assert words[0] == "factory", words
            done.append(self.run(*(meant.get(word, word) for word in words[1:])))
        assert done, f"no command is named: {ran.err}"
        return done

    def shown(self, text: str) -> str:
        """The text with what differs from run to run replaced."""
        text = text.replace(str(self.folder), "TMP")
        text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
        text = re.sub(r"aA1-[\w-]{32}", "PASSWORD", text)
        return re.sub(r"\(([0-9a-f]{12})\)", "(COMMIT)", text)

    @property
    def url(self) -> str:
        return load_host(self.home).forge_url

    def admin(self) -> ForgejoClient:
        """The embedded forge's own admin, by its socket."""
        return ForgejoClient("http://localhost", uds=forge_home(self.home / "state") / "admin.sock")

    def admin_token(self) -> Path:
        """A file with the token of a site admin, as one who runs a Forgejo has it."""
        file = self.folder / "admin-token"
        if not file.exists():
            with self.admin() as admin:
                file.write_text(admin.create_token(admin.me().login, name="admin", scopes=("all",)), encoding="ascii")
        return file

    def get(self, path: str, login: str = "factory-bot") -> Any:
        """Plain HTTP to the forge's API, as one of the accounts."""
        token = (self.home / "state" / "tokens" / login).read_text(encoding="ascii").strip()
        headers = {"Authorization": f"token {token}"}
        return httpx.get(f"{self.url}/api/v1{path}", headers=headers).raise_for_status().json()

    def log(self, repo: str, branch: str = "main") -> list[str]:
        """Subjects of a branch's commits, newest first."""
        return [c["commit"]["message"].splitlines()[0] for c in self.get(f"/repos/{repo}/commits?sha={branch}")]


def git_commands(text: str) -> list[list[str]]:
    """The git commands of a hint, in order."""
    line = next(line for line in text.splitlines() if line.startswith("hint:"))
    said = line.removeprefix("hint:").partition(", then the same again")[0]
    return [shlex.split(part) for part in said.split("&&")]
