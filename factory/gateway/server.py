"""The gateway process: sockets, signals, and nothing that wakes while idle."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from factory.errors import Conflict, FactoryError
from factory.gateway.backends import Backends
from factory.gateway.config import GatewayConfig, load_config
from factory.gateway.control_api import ControlApi
from factory.gateway.front import Front
from factory.gateway.listen import Listener, listen, socket_folder
from factory.gateway.runs import Runs


class Gateway:
    """The process: the control socket, and one socket per registered run."""

    def __init__(self, config_file: Path) -> None:
        self._file = config_file
        self._config: GatewayConfig = load_config(config_file)
        self._sockets: dict[str, Listener] = {}
        self._opening = asyncio.Lock()
        self._backends = Backends()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT. Raises ``FactoryError`` when it cannot start."""
        home = self._config.home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(home)
        self._backends.load(self._config)
        self._runs = Runs(home, _now)
        self._folder = socket_folder(home)
        self._front = Front(self._runs, self._backends, _now)
        self._runs.restore()
        for stale in self._folder.glob("*.sock"):
            if stale.stem not in self._runs.live:
                stale.unlink(missing_ok=True)
        for run in self._runs.live:
            await self._open(run)
        control = ControlApi(self._runs, self._backends, self._reload, self._open, self._close)
        self._config.control_socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        door = await listen(self._config.control_socket, control.app(), 0o600, {})
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_quietly)
        ready = {
            "pid": os.getpid(),
            "control_socket": str(self._config.control_socket),
            "live_runs": len(self._runs.live),
        }
        print(json.dumps({"factory.gateway/v1": ready}), flush=True)  # noqa: T201
        try:
            await stop.wait()
        finally:
            await door.close()
            for listener in list(self._sockets.values()):
                await listener.close()
            await self._backends.close()
            if self._folder.parent != home:
                self._folder.rmdir()
            self._runs.close()
            os.close(lock)

    async def _open(self, run: str) -> str:
        async with self._opening:
            if run not in self._sockets:
                self._sockets[run] = await listen(self._folder / f"{run}.sock", self._front, 0o666, {"run": run})
        return str(self._sockets[run].path)

    async def _close(self, run: str) -> None:
        async with self._opening:
            if (listener := self._sockets.pop(run, None)) is not None:
                await listener.close()

    def _reload(self) -> None:
        """Reads the configuration and the scripts again. Raises ``ConfigInvalid``; the old ones then stay in force."""
        fresh = load_config(self._file)
        self._backends.load(fresh)
        self._config = fresh

    def _reload_quietly(self) -> None:
        try:
            self._reload()
        except FactoryError as error:
            print(f"gateway: kept the old configuration: {error}", file=sys.stderr)  # noqa: T201


def _lock(home: Path) -> int:
    """One gateway per home. Raises ``Conflict``."""
    fd = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise Conflict(
            f"starting the gateway: another one serves {home}", hint="stop it first: factory down"
        ) from error
    return fd


def _now() -> datetime:
    return datetime.now(UTC)


def main(argv: list[str]) -> int:
    """``python -m factory.gateway --config FILE``; returns the exit code."""
    if len(argv) != 2 or argv[0] != "--config":
        print("usage: python -m factory.gateway --config FILE", file=sys.stderr)  # noqa: T201
        return 2
    os.umask(0o077)

    async def serve() -> None:
        await Gateway(Path(argv[1])).run()

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())
    except FactoryError as error:
        print(f"error: {error.message}", file=sys.stderr)  # noqa: T201
        for problem in getattr(error, "problems", ()):
            print(f"  {problem}", file=sys.stderr)  # noqa: T201
        if error.hint:
            print(f"hint:  {error.hint}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0
