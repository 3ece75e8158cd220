"""The embedded forge as a real process, for tests: started, stopped, killed, started again on the same home."""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.process.spawn import PIPE, Child, send_signal, spawn

READY_S = 30.0


@dataclass(frozen=True)
class ForgeProcess:
    """A running forge. ``admin_socket`` speaks the same API as the site admin. Leaving it as a context ends it."""

    url: str
    home: Path
    admin_socket: Path
    pid: int
    child: Child

    @classmethod
    def start(
        cls, home: Path, port: int = 0, *, compat: bool = False, program: Sequence[str] = ("-m", "factory.devforge")
    ) -> ForgeProcess:
        """Start ``python -m factory.devforge`` (or a program that takes the same) on ``home`` and wait until it serves
        (port 0: a free one).

        Raises RuntimeError with what it said when it ends instead.
        """
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = [sys.executable, *program, "--home", str(home), "--port", str(port)]
        if compat:
            argv.append("--compat")
        with (home / "forge.err").open("ab") as errors:
            child = spawn(argv, env={"PATH": os.defpath}, stdout=PIPE, stderr=errors.fileno())
        line = _first_line(child)
        if not line.endswith(b"\n"):
            with child:
                send_signal(child, signal.SIGKILL)
                code = child.wait(READY_S)
            said = (home / "forge.err").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the forge ended with {code}: {said[-2000:]}")
        facts: dict[str, Any] = json.loads(line)["factory.devforge/v1"]
        return cls(facts["url"], home, Path(facts["admin"]), facts["pid"], child)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """SIGTERM; returns the exit code. Once it has ended, again the same."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        self._end(signal.SIGKILL)

    def access_log(self) -> list[dict[str, Any]]:
        """Every request it has answered, oldest first."""
        lines = (self.home / "access.log").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def _end(self, number: signal.Signals) -> int:
        if self.child.poll() is None:
            send_signal(self.child, number)
        code = self.child.wait(READY_S)
        if code is None:
            raise RuntimeError("the forge did not end in time")
        self.child.close()
        return code

    def __enter__(self) -> ForgeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_forge(home: Path, port: int = 0, *, compat: bool = False) -> ForgeProcess:
    """:meth:`ForgeProcess.start` as a function."""
    return ForgeProcess.start(home, port, compat=compat)


def _first_line(child: Child) -> bytes:
    """Its ready line; cut short when it ends or says nothing in time."""
    assert child.stdout_fd is not None
    got = b""
    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout_fd, selectors.EVENT_READ)
        while not got.endswith(b"\n") and ready.select(READY_S) and (piece := os.read(child.stdout_fd, 65536)):
            got += piece
    return got
