"""A runner of a test's own: real sandbox, real HTTP on loopback; ledger, secrets and time answer as the test says."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from factory.config.home import packaged
from factory.errors import GitFailed
from factory.forge.values import RepoName
from factory.sandbox.protocol import Sandbox
from factory.vault.action import Action, Tier
from factory.vault.formulas import VaultFormula, host, read
from factory.vault.policy import FormulaRule, Inject, Policy
from factory.vault.ports import Order, Outcome
from factory.vault.run import tree as trees
from factory.vault.run.runner import Runner
from factory.vault.run.tools import ReleaseForge, Tools

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
CANARY = b'c4n4ry/k3y+"VALUE~z9Qe=='
HOST, INSTANCE = "here", "here/0123456789abcdef"
STEP = """schema = 1
name = "step"
version = 1
role = "vault"
description = "A step of a test's own."
[limits]
minutes = {minutes}
[vault]
class = "{letter}"
secrets = ["policy"]
hosts = ["GET,HEAD,POST,PUT,PATCH,DELETE policy"]
effects = [{effects}]
[vault.params]
text = {{ type = "text", required = false, max = 2000 }}
tag = {{ type = "name", required = false }}
commit = {{ type = "commit", required = false }}
items = {{ type = "texts", required = false }}
notes = {{ type = "texts", required = false }}
count = {{ type = "int", required = false }}
"""


def formula(
    code: str | list[list[str]] = "pass", *, letter: str = "C", effects: str = "", minutes: int = 1
) -> VaultFormula:
    """One whose only step is this Python program (or these argument lists)."""
    steps = [["python3", "-I", "-c", code]] if isinstance(code, str) else code
    text = STEP.format(letter=letter, minutes=minutes, effects=", ".join(f'"{name}"' for name in effects.split()))
    for number, argv in enumerate(steps):
        words = ", ".join("'''\n" + word + "'''" for word in argv)
        text += f'[[steps]]\nid = "s{number}"\nkind = "shell"\nargv = [{words}]\n'
    return read(text.encode())


def asking(url: str, body: str = "None") -> str:
    """Python that asks for an address through the broker; the answer is ``got``."""
    return (
        f"import urllib.request as u\nweb = u.build_opener(u.ProxyHandler())\n"
        f"got = web.open('{url}', data={body}, timeout=10).read()\n"
    )


def shipped(name: str) -> VaultFormula:
    return read(packaged("formulas")[name])


@dataclass
class Seen:
    """A request that reached the other side."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Outside:
    """The world beyond the broker: one plain HTTP server on loopback that stands for every host."""

    seen: list[Seen] = field(default_factory=list)
    answer: Callable[[Seen], tuple[int, Mapping[str, str], bytes]] = lambda seen: (200, {}, b'{"ok": true}')
    port: int = 0
    connected: list[str] = field(default_factory=list)

    def connect(self, name: str, port: int) -> socket.socket:
        self.connected.append(f"{name}:{port}")
        return socket.create_connection(("127.0.0.1", self.port), 5)

    @contextmanager
    def serving(self) -> Iterator[Outside]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                outer.seen.append(seen)
                status, headers, data = outer.answer(seen)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


@dataclass
class Folder:
    """Stands for the project: one folder of files, or a git repo of the test's."""

    name: RepoName = field(default_factory=lambda: RepoName("ann", "tally"))
    repo: Path | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)

    def tree(self, commit: str, into: Path, *, folder: str, branches: Collection[str], links: bool) -> int:
        self.asked.append((commit, folder))
        if self.repo is None:
            raise GitFailed(f"reading {commit}: there is no project here")
        trees.write(self.repo, commit, into, folder=folder, links=links)
        return 1_700_000_000


@dataclass
class House:
    """``live``: what the ledger says of every run. ``asked``: how often it was asked."""

    root: Path
    sandbox: Sandbox
    outside: Outside
    live: Callable[[Order], bool] = lambda order: True
    secrets: dict[str, bytes] = field(default_factory=dict)
    project: Folder = field(default_factory=Folder)
    forge: Callable[[], tuple[ReleaseForge, str]] | None = None
    never: tuple[str, ...] = ("forge.test",)
    asked: list[str] = field(default_factory=list)
    runners: list[Runner] = field(default_factory=list)
    woken: threading.Event = field(default_factory=threading.Event)

    @property
    def state(self) -> Path:
        return self.root / "vault"

    def _fence(self, order: Order) -> bool:
        self.asked.append(order.run)
        return self.live(order)

    def tools(self, **more: Any) -> Tools:
        def no_forge() -> tuple[ReleaseForge, str]:
            raise GitFailed("there is no forge here")

        values: dict[str, Any] = {
            "state": self.state, "host": HOST, "instance": INSTANCE, "sandbox": lambda: self.sandbox,
            "fence": self._fence, "secret": lambda name, order: self.secrets[name], "project": self.project,
            "forge": self.forge or no_forge, "never": self.never, "connect": self.outside.connect,
            "clock": lambda: NOW, "wake": self.woken.set, "ends_s": 0.0,
        }  # fmt: skip
        return Tools(**{**values, **more})

    def runner(self, **more: Any) -> Runner:
        made = Runner(self.tools(**more), self.root / "cache")
        self.runners.append(made)
        return made

    def order(
        self, of: VaultFormula, *, hosts: tuple[str, ...] = (), inject: Mapping[str, Inject] | None = None,
        settings: Mapping[str, Any] | None = None, secrets: tuple[str, ...] = (), id: str = "2026-11-28-test-7f3a",
        seconds: float = 30, **params: Any,
    ) -> Order:  # fmt: skip
        rule = FormulaRule(of.digest, Tier.LOW, secrets, tuple(h for text in hosts for h in host(text)), inject or {},
                           settings=settings or {})  # fmt: skip
        policy = Policy(1, "p" * 64, frozenset({1}), frozenset(), {of.key: rule}, {}, 20, 5, 72, frozenset(), 30)
        action = Action(id, of.key, Tier.HIGH, "target", NOW, NOW + timedelta(hours=1), "because", "run:1", secrets,
                        params=params)  # fmt: skip
        return Order(id, 1, token(), "ab" * 32, Tier.HIGH, action, of, rule, policy, "c" * 40,
                     deadline=time.monotonic() + seconds)  # fmt: skip

    def run(self, order: Order, *, runner: Runner | None = None, seconds: float = 30) -> Outcome:
        """Start it and wait for its end."""
        runner = runner or (self.runners[0] if self.runners else self.runner())
        self.woken.clear()
        runner.start(order)
        return self.wait(runner, seconds)

    def wait(self, runner: Runner, seconds: float = 30) -> Outcome:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if done := runner.finished():
                ((_, outcome),) = done
                return outcome
            self.woken.wait(0.2)
            self.woken.clear()
        raise AssertionError("the run did not end")

    def log(self, order: Order) -> str:
        suffix = f"-look{order.epoch}-1" if order.probe else ""
        return (self.state / "logs" / f"{order.run}{suffix}.log").read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        for runner in self.runners:
            runner.close()


def token() -> str:
    return secrets.token_hex(16)


def probe(order: Order) -> Order:
    """The same, only looking, as after a fence."""
    return replace(order, probe=True, epoch=order.epoch + 1)
