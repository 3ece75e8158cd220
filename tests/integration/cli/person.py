"""The command as a person runs it, on a deployment of its own; and the commands its hints name, run for real."""

from __future__ import annotations

import contextlib
import io
import json
import os
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
from unittest import mock

from factory.app.deployment import Deployment
from factory.app.services import ensure_forge
from factory.cli.main import main

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
        """The command's words in, its two streams and its ending out. ``up`` is a process, as what it starts needs one;
        the rest runs in this process: the interpreter's start is not what a screen is about, and costs more than it."""
        told = {**self.environment, **more}
        given = list(map(str, words))
        ran = as_process(given, told, self.project) if given[0] == "up" else spoken(given, told, self.project)
        assert code is None or ran.code == code, f"factory {words} ended with {ran.code}\n{ran.out}\n{ran.err}"
        assert "Traceback" not in ran.err
        return ran

    def asked(self, *words: str, answers: Mapping[str, str]) -> str:
        """``factory words...`` as a process at a terminal of its own, where each of these questions is awaited and
        answered; all that the terminal showed. It must end well."""
        master, slave = os.openpty()
        child = subprocess.Popen(
            ["setsid", "--ctty", "--wait", sys.executable, "-m", "factory", *words], env=self.environment,
            cwd=self.project, stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        shown = ""
        for question, answer in answers.items():
            while question not in shown:
                shown += os.read(master, 4096).decode()
            os.write(master, f"{answer}\n".encode())
        with contextlib.suppress(OSError):  # the terminal closes with its last program
            while piece := os.read(master, 4096):
                shown += piece.decode()
        os.close(master)
        assert child.wait(timeout=30) == 0, shown
        return shown

    def shown(self, text: str) -> str:
        """The text with what differs from run to run replaced."""
        for path, name in ((self.home, "HOME"), (self.project, "PROJECT"), (self.project.parent, "TMP")):
            text = text.replace(str(path), name)
        text = re.sub(r"127\.0\.0\.1:\d+|port \d+", lambda m: m[0].rstrip("0123456789") + "PORT", text)
        text = re.sub(r"--port \d+", "--port PORT", text)
        return re.sub(r"r\d{8}T\d{9}-[0-9a-f]{8}", "RUN", text)


def as_process(words: list[str], environment: Mapping[str, str], folder: Path) -> Ran:
    done = subprocess.run(
        [sys.executable, "-m", "factory", *words], env=environment, cwd=folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def spoken(words: list[str], environment: Mapping[str, str], folder: Path) -> Ran:
    """``factory words...`` in this process, which has nothing but ``environment`` meanwhile."""
    out, err = io.StringIO(), io.StringIO()
    ended: object = 0
    with (
        mock.patch.dict("os.environ", environment, clear=True),
        contextlib.chdir(folder),
        mock.patch("sys.stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(words)
        except SystemExit as ending:
            ended = ending.code
    return Ran(ended if isinstance(ended, int) else 0 if ended is None else 1, out.getvalue(), err.getvalue())


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


def forge_up(person: Person) -> None:
    """The forge of a deployment runs; its daemon need not."""
    ensure_forge(Deployment.open(person.home).host)


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


def until(look: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about in time")
