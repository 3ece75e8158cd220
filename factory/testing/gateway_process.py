"""A real gateway process for tests: started, killed, started again on the same home."""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.gateway.control import GatewayControl
from factory.gateway.values import RunGrant
from factory.process.spawn import PIPE, Child, send_signal, spawn

READY_S = 30.0


class GatewayProcess:
    """``python -m factory.gateway`` on ``home``. A context manager; leaving it ends the process."""

    def __init__(self, home: Path, backends: Sequence[Mapping[str, Any]]) -> None:
        self.home = home
        self.config_file = home / "gateway.json"
        self.socket = home / "control.sock"
        self.control = GatewayControl(self.socket)
        self._child: Child | None = None
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.configure(backends)

    def configure(self, backends: Sequence[Mapping[str, Any]]) -> None:
        """Writes the configuration; ``control.reload()`` puts it in force in a running process."""
        config = {"home": str(self.home / "gateway"), "control_socket": str(self.socket), "backends": list(backends)}
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(json.dumps(config), encoding="utf-8")

    def start(self) -> dict[str, Any]:
        """Starts it and waits for its ready line, which is returned. Raises ``RuntimeError`` when it ends instead."""
        argv = [sys.executable, "-m", "factory.gateway", "--config", str(self.config_file)]
        with (self.home / "gateway.err").open("ab") as errors:
            self._child = spawn(argv, env={"PATH": os.defpath}, stdout=PIPE, stderr=errors.fileno())
        line = self._ready_line(self._child)
        if not line.endswith(b"\n"):
            code = self._end(signal.SIGKILL)
            raise RuntimeError(f"the gateway ended with {code}: {self.errors()[-2000:]}")
        ready: dict[str, Any] = json.loads(line)["factory.gateway/v1"]
        return ready

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def errors(self) -> str:
        return (self.home / "gateway.err").read_text(encoding="utf-8")

    def hang_up(self) -> None:
        """SIGHUP: reload, reporting problems on stderr."""
        assert self._child is not None
        send_signal(self._child, signal.SIGHUP)

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def __enter__(self) -> GatewayProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._end(signal.SIGTERM)

    def _ready_line(self, child: Child) -> bytes:
        assert child.stdout_fd is not None
        line = b""
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout_fd, selectors.EVENT_READ)
            while not line.endswith(b"\n") and ready.select(READY_S) and (data := os.read(child.stdout_fd, 65536)):
                line += data
        return line

    def _end(self, number: signal.Signals) -> int:
        assert self._child is not None
        child, self._child = self._child, None
        with child:
            if child.poll() is None:
                send_signal(child, number)
            code = child.wait(READY_S)
        if code is None:
            raise RuntimeError("the gateway did not end in time")
        return code


def grant(run: str = "r20260101000000000-00000000", backend: str = "b", **fields: Any) -> RunGrant:
    """A grant with every field that a test does not care about."""
    return RunGrant(**{"run": run, "backend": backend, "model": "m1", "formula": "dev", "step": "implement", **fields})
