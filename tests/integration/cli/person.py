"""The command as a person runs it, on a deployment of its own; and the commands its hints name, run for real."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CI = "python3 -c 'import hello; assert hello.hello()'"
"""What decides whether a commit of the project is green."""
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def facts(self) -> dict[str, Any]:
        (value,) = json.loads(self.out).values()
        assert isinstance(value, dict)
        return value


@dataclass(frozen=True)
class Person:
    """Somebody at a terminal, with a home for the factory and a project in a folder."""

    home: Path
    project: Path
    environment: Mapping[str, str]

    def run(self, *words: str | Path, code: int | None = 0, **more: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "factory", *map(str, words)],
            env={**self.environment, **more}, cwd=self.project, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=90, check=False,
        )  # fmt: skip
        ran = Ran(done.returncode, done.stdout, done.stderr)
        assert code is None or ran.code == code, f"factory {words} ended with {ran.code}\n{ran.out}\n{ran.err}"
        assert "Traceback" not in ran.err
        return ran

    def shown(self, text: str) -> str:
        """The text with what differs from run to run replaced."""
        for path, name in ((self.home, "HOME"), (self.project, "PROJECT"), (self.project.parent, "TMP")):
            text = text.replace(str(path), name)
        text = re.sub(r"127\.0\.0\.1:\d+|port \d+", lambda m: m[0].rstrip("0123456789") + "PORT", text)
        text = re.sub(r"--port \d+", "--port PORT", text)
        return re.sub(r"r\d{8}T\d{9}-[0-9a-f]{8}", "RUN", text)


def git(folder: Path, *words: str) -> str:
    env = {"PATH": PATH, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "Ann", f"GIT_{who}_EMAIL": "ann@example.test"}
    return subprocess.run(["git", *words], cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def project_in(folder: Path) -> Path:
    """A small project of its own, as a git repository with one commit."""
    folder.mkdir(parents=True)
    (folder / "hello.py").write_text("def hello() -> str:\n    return 'hello'\n", encoding="utf-8")
    (folder / "README.md").write_text("# Hello\n", encoding="utf-8")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Begin")
    return folder


def person_in(folder: Path) -> Person:
    home = folder / "home"
    environment = {"PATH": PATH, "HOME": str(folder), "FACTORY_HOME": str(home), "LANG": "C.UTF-8"}
    return Person(home, project_in(folder / "hello"), environment)


def ended(person: Person) -> None:
    if (person.home / "state" / "host.toml").exists():
        person.run("down", code=None)


def commands(text: str) -> list[list[str]]:
    """The factory commands that a screen tells a person to run."""
    found = re.findall(r"`(factory [^`]+)`", text)
    for line in text.splitlines():
        whole = re.search(r"(?:hint:|with:|: )\s*((?:FACTORY_HOME=\S+ )?factory [a-z-]+[^`]*)$", line)
        if whole is not None:
            found.append(whole[1])
    return [shlex.split(words) for words in dict.fromkeys(found)]


def until(look: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about in time")
