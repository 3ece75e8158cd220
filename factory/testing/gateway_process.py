"""A real gateway process for tests: started, killed, started again on the same home."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.gateway.control import GatewayControl
from factory.gateway.values import RunGrant

READY_S = 20.0


class GatewayProcess:
    """``python -m factory.gateway`` on ``home``. A context manager; leaving it ends the process."""

    def __init__(self, home: Path, backends: Sequence[Mapping[str, Any]]) -> None:
        self.home = home
        self.config_file = home / "gateway.json"
        self.socket = home / "control.sock"
        self.control = GatewayControl(self.socket)
        self._process: subprocess.Popen[bytes] | None = None
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
        errors = (self.home / "gateway.err").open("ab")
        with errors:
            self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.stdout.close()
            code = self._process.wait()
            raise RuntimeError(f"the gateway ended with {code}: {self.errors()[-2000:]}")
        ready: dict[str, Any] = json.loads(line)["factory.gateway/v1"]
        return ready

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def errors(self) -> str:
        return (self.home / "gateway.err").read_text(encoding="utf-8")

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
        if self._process is not None:
            self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        process, self._process = self._process, None
        if process.poll() is None:
            os.kill(process.pid, number)
        code = process.wait(READY_S)
        assert process.stdout is not None
        process.stdout.close()
        return code


def grant(run: str = "r20260101000000000-00000000", backend: str = "b", **fields: Any) -> RunGrant:
    """A grant with every field that a test does not care about."""
    return RunGrant(**{"run": run, "backend": backend, "model": "m1", "formula": "dev", "step": "implement", **fields})
